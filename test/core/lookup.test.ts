import dns from 'node:dns'
import { type AddressInfo, connect, createServer } from 'node:net'
import t from 'tap'
import { shareLookups } from '../../src/core/lookup.ts'
import { event } from '../support/helper.ts'

t.test('a name is asked for once at a time', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await event(server, 'listening')
  const { lookup } = dns
  t.teardown(() => {
    dns.lookup = lookup
    server.close()
  })
  let questions = 0
  dns.lookup = ((...args: Parameters<typeof lookup>) => {
    questions++
    return lookup(...args)
  }) as typeof lookup
  shareLookups()

  const { port } = server.address() as AddressInfo
  const open = async () => {
    const socket = connect({ host: 'localhost', port })
    await event(socket, 'connect')
    socket.destroy()
  }
  await Promise.all([open(), open(), open()])
  t.equal(questions, 1)
  await open()
  t.equal(questions, 2, 'an answer is not kept')

  const [plain, failed] = await Promise.all([
    new Promise((resolve) => dns.lookup('localhost', (_, address) => resolve(address))),
    new Promise((resolve) => dns.lookup('nowhere.invalid', {}, resolve)),
  ])
  t.match(plain, /^(127\.0\.0\.1|::1)$/)
  t.match(failed, { syscall: 'getaddrinfo', hostname: 'nowhere.invalid' })
})
