PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE host (
	net            text primary key,            -- as internal/address spells it
	history        integer not null default 0,  -- the sum of the firewall's counts; written by sync alone
	history_last   integer not null default 0,  -- the latest of them; likewise
	first          integer not null default 0,  -- first visit; from here on written by Exim alone
	last           integer not null default 0,  -- last visit
	greeted        integer not null default 0,  -- last greeting that it waited for
	lists_passed   integer not null default 0,  -- when the DNS lists had nothing against it
	login          integer not null default 0,  -- last login
	delivered      integer not null default 0,  -- last message accepted
	failures       integer not null default 0,  -- failed logins since failures_since
	failures_since integer not null default 0
, history_passed   integer not null default 0, delivered_before integer not null default 0, offence          integer not null default 0, offence_kind     text    not null default '', offences         integer not null default 0, offences_since   integer not null default 0, guesser          integer not null default 0, lost             integer not null default 0, lost_since       integer not null default 0, rate             integer not null default 0, rate_at          integer not null default 0) without rowid;
INSERT INTO host VALUES('185.220.101.1',0,0,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,1,1795255200);
INSERT INTO host VALUES('185.220.101.2',0,0,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,3,1794839400);
INSERT INTO host VALUES('193.0.6.139',0,0,1794816000,1795390200,1795075201,1795390200,0,1795390200,0,0,0,1795075201,0,'',0,0,0,0,0,1,1795390200);
INSERT INTO host VALUES('198.51.101.7',0,0,1795255200,1795255200,0,0,0,1795255200,0,0,0,0,0,'',0,0,0,0,0,2,1795255200);
INSERT INTO host VALUES('2a01:7e00::/64',30,1700000000,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,0,0);
INSERT INTO host VALUES('45.1.1.1',0,0,1794949200,1794949200,0,1794949200,0,0,0,0,0,0,1794949200,'helo',1,1794949200,0,0,0,1,1794949200);
INSERT INTO host VALUES('45.1.1.2',0,0,1794949200,1794949200,0,0,0,0,0,0,0,0,1794949200,'helo',1,1794949200,0,0,0,0,0);
INSERT INTO host VALUES('45.1.1.3',0,0,1794949200,1794949200,0,1794949200,0,0,0,0,0,0,0,'',0,0,0,0,0,1,1794949200);
INSERT INTO host VALUES('45.1.1.4',0,0,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,1.9977777777777778744,1794971402);
INSERT INTO host VALUES('5.5.5.5',0,0,1794908700,1794908700,0,0,0,0,10,1794908700,0,0,1794908700,'guesser',1,1794908700,1794908700,0,0,0,0);
INSERT INTO host VALUES('5.5.6.6',0,0,0,0,0,0,0,0,2,1794949200,0,0,0,'',0,0,0,0,0,0,0);
INSERT INTO host VALUES('6.6.6.1',0,0,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,10,1794999600);
INSERT INTO host VALUES('6.6.7.1',0,0,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,2.9966679012345682764,1795075203);
INSERT INTO host VALUES('8.8.8.8',30,1700000000,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,1,1795255200);
INSERT INTO host VALUES('86.1.2.3',0,0,1795197600,1795197600,0,0,1795197600,0,4,1795197600,0,0,0,'',0,0,0,0,0,0,0);
INSERT INTO host VALUES('9.9.9.10',12,1700000000,0,0,0,0,0,0,0,0,0,0,0,'',0,0,0,0,0,0,0);
CREATE TABLE state (name text primary key, value not null) without rowid;
INSERT INTO state VALUES('guesser',1794908700552085);
INSERT INTO state VALUES('salt','85fb57f30c35d6dd');
CREATE TABLE guess (
	net      text    not null,
	name     integer not null,
	response integer not null, -- more than 32 bits: one try of several steps; negative: all tries of a known name in one period
	at       integer not null, -- last try
	tries    integer not null,
	known    integer not null default 0, first integer not null default 0, -- the name has logged in from there before
	primary key (net, name, response)
) without rowid;
INSERT INTO guess VALUES('86.1.2.3',3538071308,459150207,1795197600,1,1,0);
INSERT INTO guess VALUES('86.1.2.3',3538071308,2190861162,1795197600,1,1,0);
INSERT INTO guess VALUES('86.1.2.3',3538071308,3540080999,1795197600,1,1,0);
INSERT INTO guess VALUES('86.1.2.3',3538071308,4215418225,1795197600,1,1,0);
CREATE TABLE known ( -- who has logged in from where, and when last
	net  text    not null,
	name integer not null,
	at   integer not null,
	primary key (net, name)
) without rowid;
INSERT INTO known VALUES('86.1.2.3',3538071308,1795197600);
CREATE TABLE doubt ( -- who fails where he has logged in before, since the last login of anybody
	net  text    not null,
	name integer not null,
	at   integer not null,
	primary key (net, name)
) without rowid;
INSERT INTO doubt VALUES('86.1.2.3',3538071308,1795197600);
CREATE TABLE account ( -- which hosts have failed at an account within the hour
	account integer not null,
	net     text    not null,
	at      integer not null,
	tries   integer not null, first integer not null default 0,
	primary key (account, net)
) without rowid;
INSERT INTO account VALUES(4051253236,'86.1.2.3',1795197600,4,0);
CREATE INDEX guess_at on guess (at);
CREATE INDEX doubt_at on doubt (at, name);
CREATE INDEX account_at on account (at);
COMMIT;
pragma user_version = 3;
