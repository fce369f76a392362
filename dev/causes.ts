/** What keeps a folder from being used, as the system, SQLite, Redis and PostgreSQL tell it, and what cures that. */
const CAUSES: [pattern: RegExp, cure: (folder: string) => string][] = [
  [/EROFS|read-only file system/i, () => 'run it from a copy on a file system that can be written to'],
  [/ENOSPC|EDQUOT|no space left|disk is full|quota exceeded/i, () => 'make space on the disk'],
  [/EEXIST|ENOTDIR/, () => 'it must be a folder; remove what is in its place'],
  [/kill EPERM/, () => 'another user, such as root, has a server run on it; stop that one'],
  [/"root" execution of the PostgreSQL server/, (folder) => `give it away with: chown -R nobody "${folder}/data"`],
  [
    /EACCES|EPERM|permission denied|readonly database|unable to open database|wrong ownership|invalid permissions/i,
    (folder) => `make it yours with: sudo chown -R "$(id -un)" "${folder}" && chmod -R u=rwX,go= "${folder}"`,
  ],
  [
    /"postmaster.pid" already exists|shared memory block .* is still in use/,
    () => 'stop the PostgreSQL that runs on it',
  ],
  [
    new RegExp(
      [
        "can't handle RDB format|wrong signature|loading (the )?DB|reading the append only file|AOF (manifest|file)|manifest file",
        'incompatible with|initialized by PostgreSQL version|checkpoint record|control file|pg_control|not a valid data directory',
        'could not open directory "pg_|invalid data in file',
      ].join('|'),
      'i',
    ),
    (folder) => `another version wrote it, or it is damaged; use that version, or start anew with: rm -rf "${folder}"`,
  ],
]

/** The error; or if its cause is known, one line that says why `folder` cannot be used, and the cure. */
export function explained(error: Error, folder: string): Error {
  for (const [pattern, cure] of CAUSES) {
    const line = error.message.split('\n').find((text) => pattern.test(text))
    if (line) return new Error(`cannot use ${folder} (${line.trim()}): ${cure(folder)}`, { cause: error })
  }
  return error
}
