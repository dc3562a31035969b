// Writes the API reference into the built site. Any warning of typedoc is an error: a type that is part of a signature and
// not exported, a link to nothing, something public without a doc comment.
//
// typedoc does not work with TypeScript 7 yet, so this package has TypeScript 6 for it.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Application, Converter, ReflectionKind } from 'typedoc'
import { REPOSITORY_URL, ROOT } from './repository.ts'

interface Manifest {
  readonly name: string
  readonly version: string
  readonly exports: Readonly<Record<string, { readonly 'busbar-source'?: string } | string>>
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest

/** What users import, by the file that is its source. */
const subpaths = new Map<string, string>()
for (const [subpath, entry] of Object.entries(manifest.exports)) {
  const source = typeof entry === 'string' ? undefined : entry['busbar-source']
  if (source !== undefined) subpaths.set(join(ROOT, source), join(manifest.name, subpath))
}

const app = await Application.bootstrap({
  entryPoints: [...subpaths.keys()],
  tsconfig: join(ROOT, 'tsconfig.json'),
  basePath: ROOT,
  name: `Busbar ${manifest.version}`,
  readme: 'none',
  out: join(import.meta.dirname, 'dist/api'),
  navigationLinks: { Documentation: '/busbar/', GitHub: REPOSITORY_URL },
  disableGit: true,
  gitRevision: 'main',
  sourceLinkTemplate: `${REPOSITORY_URL}/blob/{gitRevision}/{path}#L{line}`,
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  validation: { notExported: true, invalidLink: true, invalidPath: true, rewrittenLink: true, notDocumented: true },
  // Properties may speak for themselves: `topic: string` needs no sentence. Those of options have a page and a check of their own.
  requiredToBeDocumented: ['Variable', 'Function', 'Class', 'Interface', 'TypeAlias', 'Method'],
})

app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
  if (!reflection.kindOf(ReflectionKind.Module)) return
  const file = context.getSymbolFromReflection(reflection)?.declarations?.[0]?.getSourceFile().fileName
  reflection.name = subpaths.get(file ?? '') ?? reflection.name
})

const project = await app.convert()
if (project !== undefined) app.validate(project)
if (project === undefined || app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1)
await app.generateOutputs(project)
