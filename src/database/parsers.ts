import pg from 'pg'

/** The parser of `text[]`, whose number pg's types do not know. */
const texts = pg.types.getTypeParser(1009 as never)

/**
 * What becomes of the values that PostgreSQL sends, in place of pg's global parsers. pg makes a Date of a day and of a
 * time without a zone, by the time zone of the process, and rounds the numbers of a `numeric[]`. All of them stay text.
 * `npm run types` says the same.
 */
export const parsers = new pg.TypeOverrides()
for (const oid of [pg.types.builtins.DATE, pg.types.builtins.TIMESTAMP]) parsers.setTypeParser(oid, (text) => text)
/** date[], timestamp[], numeric[]: pg names no arrays. */
for (const oid of [1182, 1115, 1231]) parsers.setTypeParser(oid, texts)
