import v8 from 'node:v8'
import vm from 'node:vm'
import t from 'tap'
import { UnderWay } from '../../src/core/under-way.ts'
import '../support/helper.ts'

const AT_ONCE = 64
const MB = 1_000_000

v8.setFlagsFromString('--expose-gc')
const collect: (options: { type: 'minor' | 'major' }) => void = vm.runInNewContext('gc')

t.test('what is taken out, in any order, is not in it any more', async (t) => {
  const list = new UnderWay<string>()
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((value) => list.add(value)) as [() => void, ...(() => void)[]]
  t.same([...list], ['a', 'b', 'c', 'd'], 'in the order in which they came')
  b?.()
  t.same([...list], ['a', 'c', 'd'])
  d?.()
  a()
  t.same([...list], ['c'])
  list.add('e')
  c?.()
  t.same([list.size, ...list], [1, 'e'])
})

// 20 MB come and go. With a Set 5 to 12 MB of them are left.
t.test('what has gone is collected with the young', async (t) => {
  const list = new UnderWay<object>()
  const open: (() => void)[] = []
  collect({ type: 'major' })
  const before = process.memoryUsage().heapUsed
  for (let n = 1; n <= 20_000; n++) {
    open.push(list.add(Array.from({ length: 128 }, () => n)))
    if (open.length > AT_ONCE) open.shift()?.()
    if (n % 500 === 0) collect({ type: 'minor' })
  }
  const left = process.memoryUsage().heapUsed - before
  t.ok(left < MB, `${left} bytes`)
})
