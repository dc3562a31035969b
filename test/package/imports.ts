import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

// Clauses hold names, braces, commas and stars only, so neither code nor a comment is taken for one; what tsc writes has
// every import at the start of a line.
const STATIC = /^(?:import|export)\b(?:[\w$\s{},*]*\bfrom)?\s*['"]([^'"]+)['"]/gm
const LAZY = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g

export interface Imports {
  /** Files that are loaded, the first one included. */
  readonly files: ReadonlySet<string>
  /** Packages that are loaded with them. */
  readonly packages: ReadonlySet<string>
  /** Modules of Node, with `node:`. */
  readonly builtins: ReadonlySet<string>
  /** Specifiers of `import()`, each with the file that it stands in. */
  readonly lazy: readonly { readonly from: string; readonly specifier: string }[]
}

/** Follows the static imports of a built module. */
export function importsOf(file: string): Imports {
  const files = new Set([file])
  const packages = new Set<string>()
  const builtins = new Set<string>()
  const lazy: { readonly from: string; readonly specifier: string }[] = []
  for (const from of files) {
    const text = readFileSync(from, 'utf8')
    for (const [, specifier = ''] of text.matchAll(STATIC)) {
      if (specifier.startsWith('.')) files.add(join(dirname(from), specifier))
      else if (specifier.startsWith('node:')) builtins.add(specifier)
      else packages.add(packageOf(specifier))
    }
    for (const [, specifier = ''] of text.matchAll(LAZY)) lazy.push({ from, specifier })
  }
  return { files, packages, builtins, lazy }
}

export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}
