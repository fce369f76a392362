import { NoResultError } from 'kysely'
import pg from 'pg'
import type { AnswerTo, ErrorAnswer } from '../core/error-answers.ts'

const INVALID: ErrorAnswer = { status: 400, code: 'INVALID_VALUE', message: 'A value is not valid' }
const REFERENCE: ErrorAnswer = {
  status: 409,
  code: 'REFERENCE_CONFLICT',
  message: 'It refers to something that does not exist, or something refers to it',
}
const AGAIN: ErrorAnswer = { status: 503 }

/**
 * By SQLSTATE (Appendix A of PostgreSQL's manual). Of class 22 only what a value of a client can cause: a division by
 * zero (22012) is the statement's.
 */
const ANSWERS: Record<string, ErrorAnswer> = {
  '23505': { status: 409, code: 'EXISTS', message: 'It exists already' },
  '23P01': { status: 409, code: 'OVERLAP', message: 'It overlaps with what exists' },
  '23503': REFERENCE,
  '23001': REFERENCE,
  '23502': { status: 422, code: 'MISSING_VALUE', message: 'A value is missing' },
  '23514': { status: 422, code: 'REFUSED_VALUE', message: 'A value breaks a rule' },
  '22P02': INVALID, // no number, no UUID, no value of the enum
  '22001': INVALID, // too long
  '22003': INVALID, // too large
  '22007': INVALID, // no date
  '22008': INVALID, // no such date
  '22021': INVALID, // a NUL byte in a text
  '22P05': INVALID, // \u0000 in jsonb
  '40001': AGAIN, // serialization_failure
  '40P01': AGAIN, // deadlock_detected
  '55P03': AGAIN, // lock_not_available
}

/** Constraints and values that PostgreSQL refuses, conflicts that another try can cure, and Kysely's `…OrThrow`. */
export const answers: AnswerTo = (err) => {
  if (err instanceof NoResultError) return { status: 404 }
  return err instanceof pg.DatabaseError ? ANSWERS[String(err.code)] : undefined
}
