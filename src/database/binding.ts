import pg from 'pg'
import type { ServerOptions } from './options.ts'

const BOUND = 'SCRAM-SHA-256-PLUS'
/** All that a server may ask of a client that logs in. The names are those of pg. */
const LOGINS = ['authenticationSASL', 'authenticationCleartextPassword', 'authenticationMD5Password']

/**
 * Logs in with channel binding, which ties the login to the server's certificate. pg itself uses it where the server
 * offers it, and does with less where it does not: here `require` means that nothing is sent then.
 */
export class BoundClient extends pg.Client {
  constructor({ channelBinding, ...options }: ServerOptions) {
    super({ ...options, enableChannelBinding: /^(require|prefer)$/.test(channelBinding as string) })
    if (channelBinding !== 'require') return
    const { connection } = this
    let isProven = false
    const refuse = () => {
      // What arrived with the answer must not make it connected.
      connection.removeAllListeners('readyForQuery')
      connection.stream.destroy(new Error('The server does not offer channel binding (channel_binding=require)'))
    }
    for (const login of LOGINS)
      connection.on(login, ({ mechanisms = [] }: { mechanisms?: string[] }) => {
        if (!mechanisms.includes(BOUND)) refuse()
      })
    // pg checks the proof itself, and takes a login without one.
    connection.on('authenticationSASLFinal', () => {
      isProven = true
    })
    connection.on('authenticationOk', () => {
      if (!isProven) refuse()
    })
  }
}
