import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/**
 * Locks `folder` for as long as this process lives; false when another process holds it.
 *
 * SQLite takes the operating system's own file lock, which Node does not offer: unlike a file with a process id
 * in it, that lock cannot go stale, for the system gives it up with the process.
 */
export function lockFolder(folder: string): boolean {
  // A run that was killed still stops its servers: wait for it a little, in milliseconds.
  const database = new DatabaseSync(join(folder, 'lock'), { timeout: 3000 })
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false
    throw error
  }
  // A database that is garbage collected is closed, and its lock with it.
  held.push(database)
  return true
}

const SQLITE_BUSY = 5
const held: DatabaseSync[] = []
