import type { ErrorReasons } from '../core/reasons.ts'

/** One code for all that they say: PgBouncer's, PgCat's, Supavisor's. PostgreSQL itself says them of its own bugs. */
const POOLERS = ['08P01', '58000', 'XX000']

/** A pooler's words, also those of PostgreSQL that it passes on, or keeps and repeats. */
const said = (words: string) => new RegExp(`^(${POOLERS.join('|')}) .*(${words})`)

/** Of a user or a password, whoever looked at it. */
const UNKNOWN =
  'authentication failed|no such user|role ".*" (does not exist|is not permitted)|login rejected|pg_hba.conf|tenant.* not found'

/**
 * What pg, pg-pool and Kysely say without a code, what poolers say (PgBouncer 1.12 to 1.25), and PostgreSQL's SQLSTATEs
 * (Appendix A of its manual). Of its classes 08, 25, 53, 57 and 58 each code that is not here is an `error`:
 *
 * | Code | Why it is none of the others |
 * | --- | --- |
 * | 08007 | whether the transaction was done is not known, and an answer that asks for another try could do it twice |
 * | 25, the rest | the statement does not fit its transaction, so it never will |
 * | 58030, 58P01, 58P02 | a file or the disk of the server is broken, which a person has to see |
 */
export const reasons: ErrorReasons = {
  codes: {
    refused: [
      ...['08000', '08003', '08004', '08006'], // a connection ended or was turned away, maybe the server's own (dblink)
      ...['57000', '57P01', '57P02', '57P04', '57P05'], // a person, a crash or a rule of the server ended the connection
    ],
    unreachable: ['08001'], // of a server that the server asks (postgres_fdw)
    auth: ['28P01', '28000'],
    timeout: ['57014', '25P03', '25P04'], // the server cut off what took too long: statement, idle, transaction
    limit: ['53000', '53100', '53200', '53300', '53400'], // room, on its disk too, comes back
    readonly: ['25006'],
    loading: ['57P03'],
  },
  vague: POOLERS,
  messages: [
    ['auth', /client password must be a (non-empty )?string/],
    ['timeout', /^Query read timeout|^timeout (exceeded|expired)|due to connection timeout$/],
    ['refused', /^Connection terminated|is not queryable$|connection has been discarded/],
    // Ahead of the timeouts, which it can name.
    ['error', said('unsupported .*startup parameter')],
    ['loading', said('the database system is ')],
    [
      'limit',
      said('too many|max_\\w+|max client|slots are reserved|exhaustion|no memory|out of memory|circuit breaker'),
    ],
    ['auth', said(`${UNKNOWN}|wrong password`)],
    ['refused', said('client_idle_timeout|suspend_timeout')],
    ['timeout', said('timeout|timed out|check ?out')],
    ['unreachable', said('server_login_retry|cannot connect|connect failed|DNS lookup|get connection|Pool down')],
    [
      'refused',
      said('crashed|closed|eof|exited|terminating|shutting down|forced|removed|disabled|pause failed|bouncer'),
    ],
  ],
  permanent: [
    /^(28P01|28000|42501|3D000)$/,
    /client password must be a (non-empty )?string|does not support SSL connections|does not offer channel binding/,
    said('unsupported .*startup parameter|SSL required'),
    said(`${UNKNOWN}|no such database|database ".*" does not exist|No pool configured`),
  ],
}
