-- What the application calls a user is kept for search and show, as it was given, until it says something else.
\ir ../setup.psql

select is(
    billing.set_user_reference(a(), ' Ann@Example.com '),
    (a(), 'Ann@Example.com', '2025-03-10 12:00+00')::billing.user_reference,
    'kept without the blanks around it, of a user without an account too'
);
set local tap.now = '2025-03-10 13:00+00';
select is(
    (billing.set_user_reference(a(), 'Ann@Example.com')).updated_at, '2025-03-10 12:00+00', 'the same is no change'
);
select is(
    (select xmin::text from billing.user_references), pg_current_xact_id()::text, 'it is one row'
);
select is(
    billing.set_user_reference(a(), 'ann@example.com'),
    (a(), 'ann@example.com', '2025-03-10 13:00+00')::billing.user_reference, 'another case is another text'
);
select is(
    (billing.set_user_reference(b(), 'ann@example.com')).reference, 'ann@example.com', 'two users may have the same'
);
select is((billing.set_user_reference(c(), repeat('ü', 200))).reference, repeat('ü', 200), 'of at most 200 characters');
select is(
    billing.set_user_reference(a(), null), (a(), null, null)::billing.user_reference, 'null removes it'
);
select rows_are(
    'select user_id, reference from billing.user_references order by user_id',
    $$values (b(), 'ann@example.com'), (c(), repeat('ü', 200))$$, 'and no other'
);
select is((billing.set_user_reference(a(), null)).reference, null::text, 'once more is no change');

select throws_ok('select billing.set_user_reference(' || arguments || ')', 'UC400', 'invalid_request', arguments)
from unnest(array['null, ''x''', 'a(), ''''', 'a(), ''  ''', 'a(), repeat(''x'', 201)', 'a(), E''\n''']) arguments;

select * from finish();
rollback;
