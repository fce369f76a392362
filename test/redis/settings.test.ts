import t from 'tap'
import { DATABASE_URL, eachIsOneProblem } from '../support/settings.ts'

eachIsOneProblem(t, [
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host:port' }, 'REDIS_URL is not a URL of a Redis'],
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2%zz@host' }, 'REDIS_URL is not a URL of a Redis'],
  [{ DATABASE_URL, REDIS_URL: 'redis://:hunter2@host/name' }, 'REDIS_URL is not a URL of a Redis'],
])
