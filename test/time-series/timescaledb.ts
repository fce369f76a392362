import type { Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'

/**
 * Starts a server that offers an extension of that name, empty, which only a superuser may create unless it is
 * `trusted`. Returns the superuser's URL.
 */
export async function offerTimescaledb(t: Test, { trusted = true, preloaded = true } = {}): Promise<string> {
  const directory = t.testdir({
    extension: {
      'timescaledb.control': `default_version = '1.0'\nsuperuser = true\ntrusted = ${trusted}\n`,
      'timescaledb--1.0.sql': '',
    },
  })
  const settings = {
    // Before version 18 a server looks nowhere but among its own files.
    extension_control_path: `${directory}:$system`,
    ...(preloaded && { 'timescaledb.max_background_workers': '0' }),
  }
  const postgres = await startPostgres({ version: 18, settings })
  t.teardown(() => postgres.close())
  return postgres.url
}
