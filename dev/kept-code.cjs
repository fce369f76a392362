/**
 * In front of the build's `server.js`: runs the other files of the build from the code that V8 made of them when they were
 * built, with the functions that a boot calls. Node's own compile cache has a file as it was before it ran, so that each boot
 * compiles those anew: a quarter of the boot. V8 refuses code of another version, of other flags, or of a source of another
 * length; the names of the files hold a hash of the source.
 *
 * `node server.js --keep-code` writes it when it ends.
 */
{
  const fs = require('node:fs')
  const { Module, createRequire } = require('node:module')
  const path = require('node:path')
  const vm = require('node:vm')

  const folder = path.join(__dirname, '../cache', `${process.version}-${process.arch}`)
  /** @type {Map<string, vm.Script>} */
  const scripts = new Map()

  /** @param {string} file */
  const kept = (file) => {
    try {
      return fs.readFileSync(file)
    } catch {
      return undefined
    }
  }
  /** A script has none of its own. @param {string} specifier @param {ImportCallOptions} [options] */
  const importModule = (specifier, options) => import(specifier, options)

  // The one way to give Node code. Untyped, but what v8-compile-cache and pirates have hooked for ten years.
  const { prototype } = /** @type {any} */ (Module)
  const compile = prototype._compile
  /** @param {string} content @param {string} filename @param {unknown} format */
  prototype._compile = function (content, filename, format) {
    if (!filename.startsWith(__dirname + path.sep)) return compile.call(this, content, filename, format)
    const file = path.join(folder, path.basename(filename))
    const cachedData = kept(file)
    const script = new vm.Script(content, { filename, ...(cachedData && { cachedData }) })
    scripts.set(file, script)
    const require = createRequire(filename)
    const dirname = path.dirname(filename)
    return script.runInThisContext().call(this.exports, this.exports, require, this, filename, dirname, importModule)
  }

  if (process.argv.includes('--keep-code')) {
    process.on('exit', () => {
      fs.mkdirSync(folder, { recursive: true })
      for (const [file, script] of scripts) fs.writeFileSync(file, script.createCachedData())
    })
  }
}
