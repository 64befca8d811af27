-- Raises: UC422 invalid_rows.
create or replace function billing_private.check_verdicts(p_verdicts billing.bulk_verdict[])
returns void
language plpgsql
stable
as $$
declare
    v_invalid text[] := array(
        select format('row %s: %s', v.row_no, v.problem) from unnest(p_verdicts) v where v.verdict = 'invalid'
    );
begin
    if cardinality(v_invalid) > 0 then
        perform billing_private.raise_error('invalid_rows', format(
            'Nothing is stored, because of %s rows, such as %s.', cardinality(v_invalid),
            array_to_string(v_invalid[:5], '; ')
        ));
    end if;
end
$$;

comment on function billing_private.check_verdicts(billing.bulk_verdict[]) is
    'Raises when rows of a file must be corrected.';
revoke all on function billing_private.check_verdicts(billing.bulk_verdict[]) from public;
