import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Locks `folder` for as long as this process lives; false when another process holds it.
 *
 * SQLite takes the operating system's own file lock, which Node does not offer: unlike a file with a process id
 * in it, that lock cannot go stale, for the system gives it up with the process.
 */
export function lockFolder(folder: string): boolean {
  // A run that was killed still stops its servers: wait for it a little, in milliseconds.
  const database = lock(folder, 3000)
  // A database that is garbage collected is closed, and its lock with it.
  if (database) held.push(database)
  return database !== undefined
}

/** Does the work while no other process does any in the same folder, which is made if it is missing. */
export async function alone<T>(folder: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  let database = lock(folder, 0)
  while (!database) {
    await sleep(100)
    database = lock(folder, 0)
  }
  try {
    return await work()
  } finally {
    database.close()
  }
}

function lock(folder: string, timeout: number): DatabaseSync | undefined {
  const database = new DatabaseSync(join(folder, 'lock'), { timeout })
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined
    throw error
  }
}

const SQLITE_BUSY = 5
const held: DatabaseSync[] = []
