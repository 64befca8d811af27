-- Only those that this has locked may be migrated: a user whom the old system took in a moment later is not among them.
-- Locks: the users' rows of user_migrations in the order of their ids, until commit.
create or replace function billing_private.lock_migrations(p_user_ids uuid[])
returns uuid[]
language plpgsql
as $$
begin
    insert into billing.user_migrations (user_id)
    select c.user_id
    from legacy_billing.legacy_customers c
    where c.user_id = any (p_user_ids)
    group by c.user_id
    order by c.user_id
    on conflict do nothing;
    return array(
        select user_id
        from billing.user_migrations
        where user_id = any (p_user_ids) and status <> 'migrated'
        order by user_id
        for no key update
    );
end
$$;

comment on function billing_private.lock_migrations(uuid[]) is
    'Locks the migrations of users who live in the old system; returns whom it has locked.';
revoke all on function billing_private.lock_migrations(uuid[]) from public;
