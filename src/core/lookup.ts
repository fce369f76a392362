import dns from 'node:dns'

type Answered = (...answer: unknown[]) => void
type Lookup = (name: string, options: unknown, answered: Answered) => unknown

/**
 * Has Node ask for each name once at a time, whoever connects to it. A question to a silent name server holds a thread
 * for many seconds, and libuv has two for such questions: an optional Redis that reconnects would take both, and the
 * database would not be found. Neither pg nor ioredis takes a `lookup`, but net.connect() calls this one.
 */
export function shareLookups(): void {
  const lookup = dns.lookup as Lookup
  const asking = new Map<string, Answered[]>()
  const shared: Lookup = (name, options, answered) => {
    if (typeof options === 'function') return lookup(name, {}, options as Answered)
    const question = JSON.stringify([name, options])
    const others = asking.get(question)
    if (others) return others.push(answered)
    const all = [answered]
    const asked = lookup(name, options, (...answer) => {
      asking.delete(question)
      for (const each of all) each(...answer)
    })
    asking.set(question, all)
    return asked
  }
  dns.lookup = shared as typeof dns.lookup
}
