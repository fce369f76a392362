import type { ErrorReasons } from '../core/reasons.ts'

/** PostgreSQL's SQLSTATEs (Appendix A of its manual), and what pg, pg-pool and Kysely say without a code. */
export const reasons: ErrorReasons = {
  codes: {
    refused: ['57P01', '57P02', '08006'],
    auth: ['28P01', '28000'],
    limit: ['53300', '53200'],
    readonly: ['25006'],
    loading: ['57P03'],
  },
  messages: [
    ['auth', /client password must be a (non-empty )?string/],
    ['timeout', /^Query read timeout|^timeout (exceeded|expired)|due to connection timeout$/],
    ['refused', /^Connection terminated|connection (error and is not queryable|has been discarded)/],
  ],
  permanent: [
    /^(28P01|28000|42501|3D000)$/,
    // PgBouncer, of a startup parameter that it does not know: DATABASE_STATEMENT_TIMEOUT_MS must be 0.
    /^08P01$/,
    /client password must be a (non-empty )?string|does not support SSL connections/,
  ],
}
