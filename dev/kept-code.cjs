/**
 * Beside the build's `server.js`: runs the files of the build from the code that V8 made of them when they were built, with
 * the functions that a boot calls. Node's own compile cache has a file as it was before it ran, so that each boot compiles
 * those anew: a quarter of the boot. Node met that with its own modules (nodejs/node pull request 21567). This can go when
 * the compile cache is written as the process ends.
 *
 * V8 looks at its version, its flags and the length of the source alone, and code that is damaged ends the process. So a
 * checksum of the source and the code is kept with it. `node server.js --keep-code` keeps the code when it ends.
 */
const fs = require('node:fs')
const { Module, createRequire } = require('node:module')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const vm = require('node:vm')
const { crc32 } = require('node:zlib')

/** What a file of the build begins with: a function, which Node does not wrap into another. */
const FUNCTION = '(function(exports,require,module,__filename,__dirname,import$,meta$){'
const FOLDER = path.join(__dirname, '../cache', `${process.version}-${process.arch}`)
const CHECKSUM_BYTES = 4

/** @type {Map<string, { source: string, script: vm.Script }>} */
const made = new Map()

/** @param {string} source @param {Buffer} code */
function checksum(source, code) {
  return crc32(code, crc32(source))
}

/** The code that fits, if there is any. @param {string} file @param {string} source */
function kept(file, source) {
  try {
    const content = fs.readFileSync(file)
    // Behind the code, which V8 would copy if it did not begin at a multiple of eight.
    const code = content.subarray(0, -CHECKSUM_BYTES)
    return content.readUInt32LE(code.length) === checksum(source, code) ? code : undefined
  } catch {
    return undefined
  }
}

function keep() {
  fs.mkdirSync(FOLDER, { recursive: true })
  for (const [file, { source, script }] of made) {
    const code = script.createCachedData()
    const sum = Buffer.alloc(CHECKSUM_BYTES)
    sum.writeUInt32LE(checksum(source, code))
    fs.writeFileSync(file, Buffer.concat([code, sum]))
  }
}

/** A script has no import() of its own. @param {string} specifier @param {ImportCallOptions} [options] */
function importModule(specifier, options) {
  return import(specifier, options)
}

/** In place of `import.meta`. @param {string} filename @param {NodeJS.Require} require */
function metaOf(filename, require) {
  /** @param {string} specifier */
  const resolve = (specifier) => {
    const found = require.resolve(specifier)
    return path.isAbsolute(found) ? pathToFileURL(found).href : found
  }
  return { url: pathToFileURL(filename).href, filename, dirname: path.dirname(filename), main: false, resolve }
}

// The one way to give Node code. Untyped, but what v8-compile-cache and pirates have hooked for ten years.
const { prototype } = /** @type {any} */ (Module)
const compile = prototype._compile
/** @param {string} source @param {string} filename @param {unknown} format */
prototype._compile = function (source, filename, format) {
  if (!source.startsWith(FUNCTION)) return compile.call(this, source, filename, format)
  const file = path.join(FOLDER, path.basename(filename))
  const cachedData = kept(file, source)
  const script = new vm.Script(source, {
    filename,
    ...(cachedData && { cachedData }),
    // For what a new Function() imports. Node calls it experimental, and says so then.
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  made.set(file, { source, script })
  const require = createRequire(filename)
  const meta = metaOf(filename, require)
  const run = script.runInThisContext()
  return run.call(this.exports, this.exports, require, this, filename, meta.dirname, importModule, meta)
}

if (process.argv.includes('--keep-code')) process.on('exit', keep)
