import { globSync } from 'node:fs'

// The service is measured, by whichever test runs it; dev/ is what starts the servers for it.
const measured = globSync('{src,migrations,seeds}/**/*.ts')

export default () => measured
