package hosts

// guessing is the part of version 2 that is about failed logins. Exim writes it:
// see 10-acl/18-acl-connect-guess. Names and answers are hashes of 32 bits with
// this file's salt, by which nobody finds out what they were.
const guessing = `
create table guess (
	net      text    not null,
	name     integer not null,
	response integer not null, -- more than 32 bits: one try of several steps; negative: all tries of a known name in one period
	at       integer not null, -- last try
	tries    integer not null, -- 0: one of several steps, after another of the name
	known    integer not null default 0, -- the name has logged in from there before
	primary key (net, name, response)
) without rowid;
create index guess_at on guess (at);
create table known ( -- who has logged in from where, and when last
	net  text    not null,
	name integer not null,
	at   integer not null,
	primary key (net, name)
) without rowid;
create table doubt ( -- who fails where he has logged in before, since the last login of anybody
	net  text    not null,
	name integer not null,
	at   integer not null,
	primary key (net, name)
) without rowid;
create index doubt_at on doubt (at, name);
create table account ( -- which hosts have failed at an account within the hour
	account integer not null,
	net     text    not null,
	at      integer not null,
	tries   integer not null,
	primary key (account, net)
) without rowid;
create index account_at on account (at);
`
