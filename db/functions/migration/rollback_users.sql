-- For 1 to 1000 users, one after the other. What is left of the month's credits is left of the month's limit in the old
-- system; everything else, promotions included, is bought credit there. Purchases, calls and subscriptions since the
-- migration become known there. The account is closed, with an entry for each lot that it had; debt stays with it. A
-- user who was migrated again afterwards has the same account. Frozen and closed accounts are refused: spending from
-- them can't be kept from happening in the old system.
-- Locks:  the users' migrations and accounts in their order, until commit.
-- Replay: a user who was moved back is told as already_rolled_back.
-- Raises: UC400 invalid_request.
create or replace function billing.rollback_users(p_user_ids uuid[])
returns setof billing.rollback
language plpgsql
security definer
set search_path = pg_temp
as $$
declare
    v_user_ids uuid[] := billing_private.old_user_ids(p_user_ids);
    v_user_id  uuid;
begin
    -- Two rollbacks write the same plans into the old system, in the order of their users.
    perform pg_advisory_xact_lock(hashtextextended('billing.rollback_users', 0));
    -- Rows that are missing are made before any is locked, as a migration does: else the two could wait for each other.
    insert into billing.user_migrations (user_id)
    select id from unnest(v_user_ids) id order by id
    on conflict do nothing;
    foreach v_user_id in array v_user_ids loop
        return next billing_private.rollback_user(v_user_id);
    end loop;
end
$$;

comment on function billing.rollback_users(uuid[]) is
    'Moves users back to the old system, with what they have left.';
revoke all on function billing.rollback_users(uuid[]) from public;
