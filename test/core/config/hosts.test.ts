import t from 'tap'
import { isPrivate, isThisHost } from '../../../src/core/config/hosts.ts'

const THIS_HOST = [
  ...['/var/run/postgresql', 'localhost', 'LOCALHOST'],
  ...['127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:7f00:1'],
]
const PRIVATE = [
  ...['db', 'shop-db_1', 'host.docker.internal', 'app.localhost', 'a.b.LOCALHOST'],
  ...['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '169.254.1.1', '::ffff:10.0.0.1'],
  ...['fe80::1', 'fe80::1%eth0', 'fd00::1', 'fc00::1'],
]
const ELSEWHERE = [
  ...['database.example', 'localhost.evil.com', '127.0.0.1.evil.com', 'notlocalhost', 'evil.com\n.localhost'],
  ...['localhost.', 'app.localhost.', 'evil.com/.localhost'],
  ...['8.8.8.8', '172.15.0.1', '172.32.0.1', '11.0.0.1', '128.0.0.1', '2606:4700::1', '::ffff:8.8.8.8', 'fb00::1'],
  // Not the plain notation, in which another host can hide.
  ...['2130706433', '0177.0.0.1', '0x7f000001', '127.1', '0x7f.1', '010.0.0.1', '134744072'],
  ...['0.0.0.0', '::', '', '[::1]', '127.0.0.1%lo.evil.com', '127.0.0.1 ', 'host.docker.internal.evil.com', 'db.'],
]

t.test('the spelling of a host says whether what is sent to it stays on this host', async (t) => {
  t.same(
    THIS_HOST.filter((host) => !isThisHost(host)),
    [],
  )
  t.same([...PRIVATE, ...ELSEWHERE].filter(isThisHost), [])
})

t.test('private development addresses are told from the rest, whatever it looks like', async (t) => {
  t.same(
    [...THIS_HOST, ...PRIVATE].filter((host) => !isPrivate(host)),
    [],
  )
  t.same(ELSEWHERE.filter(isPrivate), ['notlocalhost'], 'a name without a dot')
})
