import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { withoutNpmSettings } from '../peers/ensure-peers.ts'

export const ROOT: string = join(import.meta.dirname, '../..')

/** What is published is made of these, and of `dist`, which is built from them. */
const SOURCES = [
  'src',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'tools/prepare.mjs',
  'tools/pack-manifest.mjs',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
]

export interface Manifest {
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

export interface PackedFile {
  readonly path: string
  readonly size: number
}

/** The package as it would be published, built in a folder of its own: nobody's `dist` is touched. */
export interface StagedPackage {
  readonly folder: string
  /** The project's own one. */
  readonly manifest: Manifest
  /** The one in the tarball. */
  readonly packedManifest: Manifest
  /** What `npm pack` puts into the tarball. */
  readonly files: readonly PackedFile[]
  readonly tarball: string
  remove(): void
}

export async function stagePackage(): Promise<StagedPackage> {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-package-'))
  for (const source of SOURCES) cpSync(join(ROOT, source), join(folder, source), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  // npm builds it: the script `prepare`.
  const printed = await npm(folder, 'pack', '--json', '--foreground-scripts=false')
  const [packed] = JSON.parse(printed) as readonly [
    { readonly filename: string; readonly files: readonly PackedFile[] },
  ]
  const inTarball = await run(folder, 'tar', ['-xOf', packed.filename, 'package/package.json'])
  return {
    folder,
    packedManifest: JSON.parse(inTarball) as Manifest,
    manifest: JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest,
    files: packed.files,
    tarball: join(folder, packed.filename),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** An empty project with the tarball installed, and nothing else that a program could import. */
export async function consumerProject(tarball: string): Promise<{ readonly folder: string; remove(): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-consumer-'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
  await npm(folder, 'install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', tarball)
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

export function npm(folder: string, ...args: readonly string[]): Promise<string> {
  return run(folder, 'npm', args)
}

/** Runs a program with the Node of this project; rejects with all that it printed when it fails. */
export async function run(folder: string, program: string, args: readonly string[]): Promise<string> {
  const bin = join(ROOT, 'node_modules/.bin')
  const { NODE_OPTIONS: _options, ...env } = withoutNpmSettings()
  try {
    const { stdout } = await promisify(execFile)(program, args, {
      cwd: folder,
      env: { ...env, PATH: [dirname(process.execPath), bin, env['PATH']].join(delimiter) },
      timeout: 120_000,
    })
    return stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string }
    throw new Error(`${program} ${args.join(' ')} failed in ${folder}:\n${stdout ?? ''}\n${stderr ?? ''}`, {
      cause: error,
    })
  }
}
