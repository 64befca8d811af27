-- The hash of an entry covers every column, follows the entry before, and does not depend on a session's settings.
\ir ../setup.psql

create function hash(
    p_previous bytea default '\xab', p_user uuid default a(), p_entry_no bigint default 2,
    p_at timestamptz default '2025-03-10 12:00:00.123456+00', p_type text default 'usage', p_amount numeric default -1.5,
    p_balance numeric default 3.5, p_used numeric default 1.5, p_operation text default 'deduct_credits',
    p_key text default 'k', p_reference_type text default 't', p_reference_id text default 'i',
    p_description text default 'née', p_metadata jsonb default '{"b": 1.50, "a": [true, null, "x"]}',
    p_actor uuid default b(), p_grant_no bigint default 7, p_reversed bigint default 8
)
returns bytea language sql as $$
    select billing_private.entry_hash(
        p_previous, p_user, p_entry_no, p_at, p_type, p_amount, p_balance, p_used, p_operation, p_key, p_reference_type,
        p_reference_id, p_description, p_metadata, p_actor, p_grant_no, p_reversed
    )
$$;

-- As anybody can compute it, without PostgreSQL: sha256 over the bytes before and a JSON array.
select is(
    hash(),
    sha256('\xab'::bytea || convert_to(
        '["00000000-0000-0000-0000-00000000000a", 2, "2025-03-10T12:00:00.123456", "usage", -1.5, 3.5, 1.5, '
        '"deduct_credits", "k", "t", "i", "née", {"a": [true, null, "x"], "b": 1.50}, '
        '"00000000-0000-0000-0000-00000000000b", 7, 8]', 'UTF8'
    )),
    'the canonical form is written down here: changing it would break every chain there is'
);
select is(length(hash()), 32, 'it is a SHA-256');
select is(hash(p_amount => -1.500000000), hash(), 'zeros at the end of an amount do not count');

create temp table hashes as
select what, hash from (values
    ('nothing', hash()),
    ('the entry before', hash(p_previous => '\xac')),
    ('no entry before', hash(p_previous => '\x')),
    ('the user', hash(p_user => b())),
    ('the number', hash(p_entry_no => 3)),
    ('the time', hash(p_at => '2025-03-10 12:00:00.123457+00')),
    ('the type', hash(p_type => 'expiry')),
    ('the amount', hash(p_amount => -1.500000001)),
    ('the balance', hash(p_balance => 3.500000001)),
    ('the position', hash(p_used => 1.500000001)),
    ('the operation', hash(p_operation => 'capture_hold')),
    ('the key', hash(p_key => 'l')),
    ('no key', hash(p_key => null)),
    ('the reference''s type', hash(p_reference_type => 'u')),
    ('the reference', hash(p_reference_id => 'j')),
    ('a shifted border', hash(p_reference_type => 'ti', p_reference_id => '')),
    ('the description', hash(p_description => 'nee')),
    ('an empty description', hash(p_description => '')),
    ('no description', hash(p_description => null)),
    ('the metadata', hash(p_metadata => '{"b": 1.51, "a": [true, null, "x"]}')),
    ('no metadata', hash(p_metadata => null)),
    ('metadata that is null', hash(p_metadata => '{}')),
    ('the actor', hash(p_actor => a())),
    ('the lot', hash(p_grant_no => 9)),
    ('the reversed entry', hash(p_reversed => 9)),
    ('the two of them', hash(p_grant_no => 8, p_reversed => 7))
) h (what, hash);
select is_empty('select hash from hashes group by hash having count(*) > 1', 'each column, changed alone, changes the hash');
select is_empty('select what from hashes where hash is null', 'and a null in any of them does not make it null');

create temp table before as select hash() as hash;
set local timezone = 'Asia/Kathmandu';
select is(hash(), hash, 'TimeZone does not count') from before;
set local datestyle = 'German, DMY';
select is(hash(), hash, 'nor does DateStyle') from before;
set local intervalstyle = 'iso_8601';
select is(hash(), hash, 'nor IntervalStyle') from before;
set local extra_float_digits = -15;
select is(hash(), hash, 'nor extra_float_digits') from before;
set local bytea_output = 'escape';
set local standard_conforming_strings = off;
set local lc_numeric = 'C';
set local client_encoding = 'LATIN1';
select is(encode(hash(), 'hex'), encode(hash, 'hex'), 'nor how bytes are written, nor the client''s encoding') from before;
reset client_encoding;
reset standard_conforming_strings;

select * from finish();
rollback;
