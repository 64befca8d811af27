create or replace function billing_private.migrated_lots(p_purchases billing_private.old_purchase[])
returns table (purchase_id uuid, entry_no bigint, grant_no bigint)
language plpgsql
stable
as $$
begin
    return query
        select o.purchase_id, l.entry_no, l.grant_no
        from unnest(p_purchases) o
        join billing.user_migrations m on m.user_id = o.user_id
        join billing.credit_grants l
            on l.user_id = o.user_id
            and l.entry_no between m.first_entry_no and m.last_entry_no
            and l.reference_type = 'legacy_purchase'
            and l.reference_id = o.legacy_purchase_id;
end
$$;

comment on function billing_private.migrated_lots(billing_private.old_purchase[]) is
    'The lots that the last migration of their users made of purchases of the old system.';
revoke all on function billing_private.migrated_lots(billing_private.old_purchase[]) from public;
