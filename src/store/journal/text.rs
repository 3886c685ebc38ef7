//! What a journal is read and written by: one statement each way, since every round trip to the database is made while
//! the team is locked.

/// The team, its accounts and the members' ($2, ids), lots with something left and those named ($3), the open holds of
/// instances ($4) with their pins and claims, the budgets that count these members and API keys ($5), their periods.
pub(super) const JOURNAL_READ_SQLITE: &str = "
    SELECT booked, terms, credit_limit FROM teams WHERE id = $1;
    SELECT * FROM accounts
    WHERE team = $1 AND (member = '' OR member IN (SELECT value FROM json_each($2)));
    SELECT * FROM lots
    WHERE amount > spent + expired
      AND account IN (SELECT id FROM accounts
                      WHERE team = $1 AND floor IS NOT NULL
                        AND (member = '' OR member IN (SELECT value FROM json_each($2))));
    SELECT * FROM lots WHERE id IN (SELECT value FROM json_each($3));
    SELECT * FROM holds WHERE state = 'open' AND instance IN (SELECT value FROM json_each($4));
    SELECT * FROM pins
    WHERE hold IN (SELECT id FROM holds
                   WHERE state = 'open' AND instance IN (SELECT value FROM json_each($4)));
    SELECT * FROM budget_claims
    WHERE hold IN (SELECT id FROM holds
                   WHERE state = 'open' AND instance IN (SELECT value FROM json_each($4)));
    SELECT * FROM budgets
    WHERE team = $1
      AND (active AND subject IN (SELECT $1
                                  UNION ALL SELECT value FROM json_each($2)
                                  UNION ALL SELECT value FROM json_each($5)
                                  UNION ALL SELECT api_key FROM holds
                                            WHERE state = 'open'
                                              AND instance IN (SELECT value FROM json_each($4)))
           OR id IN (SELECT budget FROM budget_claims
                     WHERE hold IN (SELECT id FROM holds
                                    WHERE state = 'open'
                                      AND instance IN (SELECT value FROM json_each($4)))));
    SELECT * FROM budget_periods
    WHERE budget IN (SELECT id FROM budgets
                     WHERE team = $1
                       AND (active OR id IN (SELECT budget FROM budget_claims
                                             WHERE hold IN (SELECT id FROM holds
                                                            WHERE state = 'open'
                                                              AND instance IN (SELECT value FROM json_each($4))))))";
/// The same as a list of all rows.
pub(super) const JOURNAL_READ_POSTGRES: &str = "
    WITH
    asked AS MATERIALIZED (
        SELECT ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS TEXT)::jsonb)) AS members,
               ARRAY(SELECT jsonb_array_elements_text(CAST($5 AS TEXT)::jsonb)) AS keys),
    own AS MATERIALIZED (
        SELECT * FROM accounts
        WHERE team = $1 AND (member = '' OR member = ANY ((SELECT members FROM asked)::TEXT[]))),
    held AS MATERIALIZED (
        SELECT * FROM holds
        WHERE state = 'open' AND instance = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($4 AS TEXT)::jsonb)))),
    claims AS MATERIALIZED (SELECT * FROM budget_claims WHERE hold = ANY (ARRAY(SELECT id FROM held))),
    counting AS MATERIALIZED (
        SELECT * FROM budgets
        WHERE team = $1
          AND (active AND (subject = $1 OR subject = ANY ((SELECT members FROM asked)::TEXT[])
                           OR subject = ANY ((SELECT keys FROM asked)::TEXT[])
                           OR subject = ANY (ARRAY(SELECT api_key FROM held)))
               OR id = ANY (ARRAY(SELECT budget FROM claims))))
    SELECT CAST(0 AS BIGINT) AS part, row_to_json(t)::TEXT AS item
      FROM (SELECT booked, terms, credit_limit FROM teams WHERE id = $1) t
    UNION ALL SELECT 1, row_to_json(own)::TEXT FROM own
    UNION ALL SELECT 2, row_to_json(l)::TEXT FROM lots l
      WHERE amount > spent + expired AND account = ANY (ARRAY(SELECT id FROM own WHERE floor IS NOT NULL))
    UNION ALL SELECT 3, row_to_json(l)::TEXT FROM lots l
      WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($3 AS TEXT)::jsonb)))
    UNION ALL SELECT 4, row_to_json(held)::TEXT FROM held
    UNION ALL SELECT 5, row_to_json(p)::TEXT FROM pins p WHERE hold = ANY (ARRAY(SELECT id FROM held))
    UNION ALL SELECT 6, row_to_json(claims)::TEXT FROM claims
    UNION ALL SELECT 7, row_to_json(counting)::TEXT FROM counting
    UNION ALL SELECT 8, row_to_json(p)::TEXT FROM budget_periods p
      WHERE budget = ANY (ARRAY(SELECT id FROM counting))";

/// The team's number ($1 team, $2 before, $3 after), then lists: transactions, fresh lots, entries, moves of lots,
/// accounts, moved lots, fresh holds, moved holds, pins, pins that end, periods, claims, claims that end. Whatever is
/// written only if it is still as it was read is missing in the numbers of touched rows.
pub(super) const JOURNAL_WRITE_SQLITE: &str = "
    UPDATE teams SET booked = $3 WHERE id = $1 AND booked = $2 AND booked < $3;
    INSERT INTO transactions (id, team, kind, occurred_at, recorded_at, actor, reason, member, instance,
                              reverses, idem_key, seq)
    SELECT value->>'id', value->>'team', value->>'kind', value->>'occurred_at', value->>'recorded_at',
           value->>'actor', value->>'reason', value->>'member', value->>'instance', value->>'reverses',
           value->>'idem_key', value->>'seq'
    FROM json_each($4) WHERE TRUE
    ON CONFLICT DO NOTHING;
    INSERT INTO lots (id, team, account, category, priority, effective_at, expires_at, parent, origin,
                      transaction_id, amount, pinned, spent, expired)
    SELECT value->>'id', value->>'team', value->>'account', value->>'category', value->>'priority',
           value->>'effective_at', value->>'expires_at', value->>'parent', value->>'origin',
           value->>'transaction_id', value->>'amount', value->>'pinned', value->>'spent', value->>'expired'
    FROM json_each($5);
    INSERT INTO entries (transaction_id, line, account, account_move, direction, phase, amount)
    SELECT value->>'t', value->>'line', value->>'account', value->>'move', value->>'direction', value->>'phase',
           value->>'amount'
    FROM json_each($6);
    INSERT INTO lot_moves (transaction_id, line, place, lot, amount)
    SELECT value->>'t', value->>'line', value->>'place', value->>'lot', value->>'amount' FROM json_each($7);
    UPDATE accounts
    SET debits_posted = n.value->>'debits_posted', credits_posted = n.value->>'credits_posted',
        debits_pending = n.value->>'debits_pending', credits_pending = n.value->>'credits_pending',
        moves = n.value->>'moves'
    FROM json_each($8) n
    WHERE accounts.id = n.value->>'id' AND accounts.moves = n.value->>'seen';
    UPDATE lots
    SET pinned = n.value->>'pinned', spent = n.value->>'spent', expired = n.value->>'expired'
    FROM json_each($9) n
    WHERE lots.id = n.value->>'id' AND lots.pinned = n.value->>'seen_pinned'
      AND lots.spent = n.value->>'seen_spent' AND lots.expired = n.value->>'seen_expired';
    INSERT INTO holds (id, team, member, instance, account, reserved, captured, released, extensions, state,
                       created_at, closed_at, api_key)
    SELECT value->>'id', value->>'team', value->>'member', value->>'instance', value->>'account',
           value->>'reserved', value->>'captured', value->>'released', value->>'extensions', value->>'state',
           value->>'created_at', value->>'closed_at', value->>'api_key'
    FROM json_each($10);
    UPDATE holds
    SET reserved = n.value->>'reserved', captured = n.value->>'captured', released = n.value->>'released',
        extensions = n.value->>'extensions', state = n.value->>'state', closed_at = n.value->>'closed_at'
    FROM json_each($11) n
    WHERE holds.id = n.value->>'id' AND holds.state = 'open' AND holds.reserved = n.value->>'seen_reserved'
      AND holds.captured = n.value->>'seen_captured' AND holds.extensions = n.value->>'seen_extensions';
    INSERT INTO pins (hold, lot, amount)
    SELECT value->>'hold', value->>'lot', value->>'amount' FROM json_each($12) WHERE TRUE
    ON CONFLICT (hold, lot) DO UPDATE SET amount = excluded.amount;
    DELETE FROM pins
    WHERE (hold, lot) IN (SELECT value->>'hold', value->>'lot' FROM json_each($13));
    INSERT INTO budget_periods (budget, start_at, end_at, reserved, spent, told_percent)
    SELECT value->>'budget', value->>'start_at', value->>'end_at', value->>'reserved', value->>'spent',
           value->>'told_percent'
    FROM json_each($14) WHERE TRUE
    ON CONFLICT (budget, start_at)
    DO UPDATE SET reserved = excluded.reserved, spent = excluded.spent, told_percent = excluded.told_percent;
    INSERT INTO budget_claims (hold, budget, start_at, reserved)
    SELECT value->>'hold', value->>'budget', value->>'start_at', value->>'reserved' FROM json_each($15) WHERE TRUE
    ON CONFLICT (hold, budget) DO UPDATE SET start_at = excluded.start_at, reserved = excluded.reserved;
    DELETE FROM budget_claims
    WHERE (hold, budget) IN (SELECT value->>'hold', value->>'budget' FROM json_each($16))";
/// The same; what rests on the transactions is written only if all of them are new.
pub(super) const JOURNAL_WRITE_POSTGRES: &str = "
    WITH
    numbered AS (
        UPDATE teams SET booked = $3 WHERE id = $1 AND booked = $2 AND booked < $3
        RETURNING 1),
    booked_new AS (
        INSERT INTO transactions (id, team, kind, occurred_at, recorded_at, actor, reason, member, instance,
                                  reverses, idem_key, seq)
        SELECT * FROM jsonb_to_recordset(CAST($4 AS TEXT)::jsonb)
            AS n(id TEXT, team TEXT, kind TEXT, occurred_at BIGINT, recorded_at BIGINT, actor TEXT, reason TEXT,
                 member TEXT, instance TEXT, reverses TEXT, idem_key TEXT, seq BIGINT)
        ON CONFLICT DO NOTHING
        RETURNING 1),
    recorded AS (
        SELECT count(*) = jsonb_array_length(CAST($4 AS TEXT)::jsonb) AS whole FROM booked_new),
    lots_new AS (
        INSERT INTO lots (id, team, account, category, priority, effective_at, expires_at, parent, origin,
                          transaction_id, amount, pinned, spent, expired)
        SELECT * FROM jsonb_to_recordset(CAST($5 AS TEXT)::jsonb)
            AS n(id TEXT, team TEXT, account TEXT, category TEXT, priority BIGINT, effective_at BIGINT,
                 expires_at BIGINT, parent TEXT, origin TEXT, transaction_id TEXT, amount BIGINT, pinned BIGINT,
                 spent BIGINT, expired BIGINT)
        WHERE (SELECT whole FROM recorded)
        RETURNING 1),
    entries_new AS (
        INSERT INTO entries (transaction_id, line, account, account_move, direction, phase, amount)
        SELECT * FROM jsonb_to_recordset(CAST($6 AS TEXT)::jsonb)
            AS n(t TEXT, line BIGINT, account TEXT, move BIGINT, direction TEXT, phase TEXT, amount BIGINT)
        WHERE (SELECT whole FROM recorded)
        RETURNING 1),
    moves_new AS (
        INSERT INTO lot_moves (transaction_id, line, place, lot, amount)
        SELECT * FROM jsonb_to_recordset(CAST($7 AS TEXT)::jsonb)
            AS n(t TEXT, line BIGINT, place BIGINT, lot TEXT, amount BIGINT)
        WHERE (SELECT whole FROM recorded)
        RETURNING 1),
    accounts_moved AS (
        UPDATE accounts
        SET debits_posted = n.debits_posted, credits_posted = n.credits_posted,
            debits_pending = n.debits_pending, credits_pending = n.credits_pending, moves = n.moves
        FROM jsonb_to_recordset(CAST($8 AS TEXT)::jsonb)
            AS n(id TEXT, seen BIGINT, moves BIGINT, debits_posted BIGINT, credits_posted BIGINT,
                 debits_pending BIGINT, credits_pending BIGINT)
        WHERE accounts.id = n.id AND accounts.moves = n.seen
          AND (SELECT whole FROM recorded)
        RETURNING 1),
    lots_moved AS (
        UPDATE lots SET pinned = n.pinned, spent = n.spent, expired = n.expired
        FROM jsonb_to_recordset(CAST($9 AS TEXT)::jsonb)
            AS n(id TEXT, pinned BIGINT, spent BIGINT, expired BIGINT, seen_pinned BIGINT, seen_spent BIGINT,
                 seen_expired BIGINT)
        WHERE lots.id = n.id AND lots.pinned = n.seen_pinned AND lots.spent = n.seen_spent
          AND lots.expired = n.seen_expired
          AND (SELECT whole FROM recorded)
        RETURNING 1),
    holds_new AS (
        INSERT INTO holds (id, team, member, instance, account, reserved, captured, released, extensions, state,
                           created_at, closed_at, api_key)
        SELECT * FROM jsonb_to_recordset(CAST($10 AS TEXT)::jsonb)
            AS n(id TEXT, team TEXT, member TEXT, instance TEXT, account TEXT, reserved BIGINT, captured BIGINT,
                 released BIGINT, extensions BIGINT, state TEXT, created_at BIGINT, closed_at BIGINT, api_key TEXT)
        RETURNING 1),
    holds_moved AS (
        UPDATE holds
        SET reserved = n.reserved, captured = n.captured, released = n.released, extensions = n.extensions,
            state = n.state, closed_at = n.closed_at
        FROM jsonb_to_recordset(CAST($11 AS TEXT)::jsonb)
            AS n(id TEXT, reserved BIGINT, captured BIGINT, released BIGINT, extensions BIGINT, state TEXT,
                 closed_at BIGINT, seen_reserved BIGINT, seen_captured BIGINT, seen_extensions BIGINT)
        WHERE holds.id = n.id AND holds.state = 'open' AND holds.reserved = n.seen_reserved
          AND holds.captured = n.seen_captured AND holds.extensions = n.seen_extensions
          AND (SELECT whole FROM recorded)
        RETURNING 1),
    pins_put AS (
        INSERT INTO pins (hold, lot, amount)
        SELECT * FROM jsonb_to_recordset(CAST($12 AS TEXT)::jsonb) AS n(hold TEXT, lot TEXT, amount BIGINT)
        ON CONFLICT (hold, lot) DO UPDATE SET amount = excluded.amount
        RETURNING 1),
    pins_ended AS (
        DELETE FROM pins p
        USING jsonb_to_recordset(CAST($13 AS TEXT)::jsonb) AS n(hold TEXT, lot TEXT)
        WHERE p.hold = n.hold AND p.lot = n.lot
        RETURNING 1),
    periods_put AS (
        INSERT INTO budget_periods (budget, start_at, end_at, reserved, spent, told_percent)
        SELECT * FROM jsonb_to_recordset(CAST($14 AS TEXT)::jsonb)
            AS n(budget TEXT, start_at BIGINT, end_at BIGINT, reserved BIGINT, spent BIGINT, told_percent BIGINT)
        ON CONFLICT (budget, start_at)
        DO UPDATE SET reserved = excluded.reserved, spent = excluded.spent, told_percent = excluded.told_percent
        RETURNING 1),
    claims_put AS (
        INSERT INTO budget_claims (hold, budget, start_at, reserved)
        SELECT * FROM jsonb_to_recordset(CAST($15 AS TEXT)::jsonb)
            AS n(hold TEXT, budget TEXT, start_at BIGINT, reserved BIGINT)
        ON CONFLICT (hold, budget) DO UPDATE SET start_at = excluded.start_at, reserved = excluded.reserved
        RETURNING 1),
    claims_ended AS (
        DELETE FROM budget_claims c
        USING jsonb_to_recordset(CAST($16 AS TEXT)::jsonb) AS n(hold TEXT, budget TEXT)
        WHERE c.hold = n.hold AND c.budget = n.budget
        RETURNING 1)
    SELECT (SELECT count(*) FROM numbered),
           (SELECT count(*) FROM booked_new),
           (SELECT count(*) FROM lots_new),
           (SELECT count(*) FROM entries_new),
           (SELECT count(*) FROM moves_new),
           (SELECT count(*) FROM accounts_moved),
           (SELECT count(*) FROM lots_moved),
           (SELECT count(*) FROM holds_new),
           (SELECT count(*) FROM holds_moved),
           (SELECT count(*) FROM pins_put),
           (SELECT count(*) FROM pins_ended),
           (SELECT count(*) FROM periods_put),
           (SELECT count(*) FROM claims_put),
           (SELECT count(*) FROM claims_ended)";
