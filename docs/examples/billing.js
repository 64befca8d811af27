// @ts-check
/**
 * The billing API for a frontend, in one file without dependencies. Copy it, and keep what you need.
 *
 *     import { billing, BillingError } from "./billing.js";
 *
 *     const credits = billing({ token: () => session.access_token });
 *     const { can_run, message } = await credits.check("0.25");
 *
 * Every amount is a text such as "31.790620056", as the server wrote it: a JavaScript number keeps about 16 digits, and
 * 0.1 + 0.2 is not 0.3 in it. Show amounts with `shown`, pass them on as they are, and leave adding up to the server.
 */

/**
 * @typedef {string} Amount Credits, exact: 1 credit is 1 US dollar, with up to 9 decimal places.
 * @typedef {string} Time ISO 8601 in UTC.
 *
 * @typedef {object} Check
 * @property {boolean} can_run Whether the credits cover the call.
 * @property {Amount} balance All credits, reserved ones included.
 * @property {Amount} available What can be spent.
 * @property {string} tier
 * @property {string} message "OK", or why not.
 *
 * @typedef {object} Account
 * @property {string} user_id
 * @property {string} tier
 * @property {"active" | "frozen" | "closed"} status
 * @property {Amount} balance
 * @property {Amount} held Reserved for calls that are still running.
 * @property {Amount} available
 * @property {Amount} debt What the next credits repay first.
 * @property {Amount} used_total
 * @property {number} entry_count
 * @property {Time | null} next_expiry_at
 * @property {Time | null} last_grant_at
 * @property {Time} created_at
 * @property {Time} updated_at
 *
 * @typedef {"usage" | "tier_grant" | "purchase" | "adjustment" | "refund" | "reversal" | "expiry" | "clawback"
 *     | "debt_repayment" | "trial_grant" | "migration" | "rollback"} EntryType
 *
 * @typedef {object} Entry
 * @property {number} entry_no 1, 2, 3 and so on, without gaps.
 * @property {EntryType} type
 * @property {Amount} amount Negative when credits leave the account; "0" is a call that was refused.
 * @property {Amount} balance_after
 * @property {string | null} description
 * @property {string | null} reference_type
 * @property {string | null} reference_id
 * @property {Record<string, unknown> | null} metadata
 * @property {Time} created_at
 *
 * @typedef {object} Page
 * @property {Entry[]} entries Newest first.
 * @property {number | null} next_before What the next page is asked for with; null on the last one.
 *
 * @typedef {object} Purchase
 * @property {string} purchase_id
 * @property {Amount} amount
 * @property {number} price_cents
 * @property {"pending" | "open" | "processing" | "paid" | "failed" | "expired"} status
 * @property {string | null} checkout_url Where the user pays.
 *
 * @typedef {{ package: string } | { amount: Amount }} Wanted A package by its name, or an amount.
 */

const AMOUNTS = /"(amount|asked|available|balance|balance_after|debt|held|required|used_total)"\s*:\s*(-?\d[\d.]*)/g;

/** What the API refuses, by RFC 9457. Program against `code`: it is stable, the sentences are not. */
export class BillingError extends Error {
  /**
   * @param {number} status
   * @param {Record<string, any>} problem The whole document, with what a problem has besides, such as `available`.
   */
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.name = "BillingError";
    this.status = status;
    /** @type {string} Such as "insufficient_credits", "not_migrated" or "token_expired". */
    this.code = problem.code ?? "no_answer";
    /** @type {string | undefined} What to do about it. */
    this.hint = problem.hint;
    /** @type {string | undefined} What to name when you ask the people who run the API. */
    this.requestId = problem.request_id;
    this.problem = problem;
  }
}

/**
 * @param {object} options
 * @param {() => string | Promise<string>} options.token The user's token; it is asked for at every call.
 * @param {string} [options.base] Where the API is, if not on the page's own origin (then CORS_ORIGINS names the page's).
 */
export function billing({ token, base = "" }) {
  /**
   * @param {string} path
   * @param {{ body?: object, key?: string }} [send]
   * @returns {Promise<any>}
   */
  async function call(path, { body, key } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${await token()}` };
    if (body) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    const method = body ? "POST" : "GET";
    const answer = await fetch(`${base}/api/billing/v2/${path}`, { method, headers, body: body && JSON.stringify(body) });
    const read = parsed(await answer.text());
    if (!answer.ok || read === undefined) throw new BillingError(answer.status, read ?? {});
    return read;
  }

  return {
    /**
     * Tell whether the credits cover a call. It is no error when they do not: see `can_run`.
     *
     * @param {Amount} [required] Credits that the call will need; "0.01" unless told.
     * @returns {Promise<Check>}
     */
    check: (required) => call(`check${query({ required })}`),

    /** @returns {Promise<Account>} */
    balance: () => call("balance"),

    /**
     * What happened to the credits, newest first.
     *
     * @param {{ type?: EntryType, before?: number, limit?: number }} [page]
     * @returns {Promise<Page>}
     */
    ledger: (page = {}) => call(`ledger${query(page)}`),

    /**
     * Begin to buy credits: then send the user to `checkout_url`.
     *
     * @param {Wanted & { success_url?: string, cancel_url?: string, save_card?: boolean }} wanted
     * @param {string} key Made with the form, by crypto.randomUUID(): sent twice, it buys once.
     * @returns {Promise<Purchase>}
     */
    purchaseCredits: (wanted, key) => call("purchase-credits", { body: wanted, key }),
  };
}

/**
 * An amount for people, in their language: "31.79". Cut, not rounded, so that nobody sees more than there is.
 *
 * @param {Amount} amount
 * @param {string} [locale]
 * @param {number} [places]
 */
export function shown(amount, locale, places = 2) {
  const [whole, part = ""] = amount.split(".");
  const cut = `${whole}.${part.padEnd(places, "0").slice(0, places)}`;
  const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
  // Given as a text, it is not read as a float.
  return new Intl.NumberFormat(locale, digits).format(/** @type {any} */ (cut));
}

/**
 * The JSON, with amounts as texts before anything reads them as floats; undefined for what is none, as a proxy's page.
 *
 * @param {string} text
 * @returns {any}
 */
function parsed(text) {
  try {
    return JSON.parse(text.replace(AMOUNTS, '"$1":"$2"'));
  } catch {
    return undefined;
  }
}

/** @param {Record<string, string | number | undefined>} values */
function query(values) {
  const given = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
