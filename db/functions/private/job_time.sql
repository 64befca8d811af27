-- Raises: UC422 time_lies_ahead.
create or replace function billing_private.job_time(p_at timestamptz)
returns timestamptz
language plpgsql
as $$
declare
    v_now timestamptz := billing_private.clock();
begin
    if p_at > v_now then
        perform billing_private.raise_error('time_lies_ahead', format('It is %s; p_at is %s.', v_now, p_at));
    end if;
    return coalesce(p_at, v_now);
end
$$;

comment on function billing_private.job_time(timestamptz) is 'The time as of which a job runs: not one that lies ahead.';
revoke all on function billing_private.job_time(timestamptz) from public;
