// Ends with one line where an older Node would end with a syntax error, or with ERR_UNKNOWN_FILE_EXTENSION.

/** `await using` and Promise.try() came with this version. */
const OLDEST = 24

if (Number.parseInt(process.versions.node, 10) < OLDEST) {
  console.error(
    `Node.js ${process.versions.node} cannot run this, which takes ${OLDEST} or newer. npm ci --include=dev --ignore-scripts=false ` +
      'installs one for the npm scripts; another package manager must be allowed to run the install script of the package node.',
  )
  process.exit(1)
}
