package hosts

// guessing is the part of version 2 that is about failed logins. Exim inserts one
// into failed_login, which is one transaction; what it is told of the host
// afterwards it reads from the tables. Names and answers are hashes of 32 bits
// with this file's salt, by which nobody finds out what they were.
//
// A row of failed_login is: the host; the name before the "@"; the account, which
// is the whole name; the answer to AUTH, null where Exim has not seen it; whether
// the name has logged in from there before; the time in seconds, and in
// microseconds, which no other failed login has; for how long a guess counts;
// how many make a guesser; and whether the host becomes one, or the rule only
// learns.
const guessing = `
create table guess (
	net      text    not null,
	name     integer not null,
	response integer not null, -- more than 32 bits: one try of several steps; negative: all tries of a known name in one period
	at       integer not null, -- last try
	tries    integer not null,
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

create view failed_login as select '' net, 0 name, 0 account, 0 response, 0 known, 0 at, 0 stamp, 0 period, 0 failures, 0 enforce;
create trigger failed_login instead of insert on failed_login begin
	delete from guess where at <= new.at - new.period;
	delete from account where at <= new.at - 3600;

	-- That somebody forgets his password is no doubt of the server: he failed before the last login, too.
	insert into doubt select new.net, new.name, new.at where new.known
		and (exists (select 1 from doubt where net = new.net and name = new.name)
			or not exists (select 1 from guess where net = new.net and name = new.name))
		on conflict (net, name) do update set at = excluded.at;
	insert into state select 'doubt', new.stamp where (select count(distinct name) from doubt where at > new.at - 3600) > 1
		on conflict (name) do update set value = excluded.value where abs(excluded.value - value) >= 60000000;

	insert into guess (net, name, response, at, tries, known)
		select new.net, new.name, coalesce(new.response, case when new.known then -(new.at / new.period) else new.stamp end), new.at, 1, new.known
		where (select count(distinct name) from doubt where at > new.at - 3600) < 2
		on conflict (net, name, response) do update set at = excluded.at, tries = tries + 1, known = excluded.known;
	insert into account select new.account, new.net, new.at, 1 where (select count(distinct name) from doubt where at > new.at - 3600) < 2
		on conflict (account, net) do update set at = excluded.at, tries = tries + 1;

	insert into host (net) values (new.net) on conflict do nothing;
	update host set failures_since = new.at, failures =
		(select coalesce(sum(case when response < 0 then 1 + (tries - 1) / 30 else 1 end), 0) from guess where net = new.net)
		where net = new.net;
	insert into state select 'guesser', new.stamp from host where net = new.net and guesser not between new.at - 86400 and new.at
		and (failures >= new.failures or (select count(distinct name) from guess where net = new.net and not known) >= 5)
		on conflict (name) do update set value = excluded.value;
	update host set guesser = new.at where new.enforce and net = new.net and (select value from state where name = 'guesser') = new.stamp;
	-- A robot with one stolen password is no user.
	update host set login = 0 where new.enforce and net = new.net and (select count(distinct name) from guess where net = new.net and not known) >= 5;
end;
`
