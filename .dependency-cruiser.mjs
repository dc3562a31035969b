// The direction of imports (DESIGN.md, "The house"). A rule that fails names the file; move the code, not the rule.
const features = 'middleware|pipeline|rpc|outbox|inbox|saga|eventstore|schema|security|telemetry|dashboard|bridge'

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    { name: 'no-cycle', severity: 'error', from: {}, to: { circular: true } },
    { name: 'core-imports-only-core', severity: 'error', from: { path: '^src/core/' }, to: { path: '^src/', pathNot: '^src/core/' } },
    { name: 'core-has-no-dependency', severity: 'error', from: { path: '^src/core/' }, to: { dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-no-pkg', 'npm-unknown'] } },
    { name: 'kafka-client-stands-alone', severity: 'error', from: { path: '^src/kafka/' }, to: { path: '^src/', pathNot: '^src/kafka/' } },
    {
      name: 'a-transport-imports-core-and-itself',
      severity: 'error',
      from: { path: '^src/transports/([^/]+)/' },
      to: { path: '^src/', pathNot: ['^src/core/', '^src/transports/$1/', '^src/kafka/'] },
    },
    { name: 'only-the-kafka-transport-uses-the-kafka-client', severity: 'error', from: { path: '^src/transports/', pathNot: '^src/transports/kafka/' }, to: { path: '^src/kafka/' } },
    { name: 'a-feature-imports-core-and-itself', severity: 'error', from: { path: `^src/(${features})/` }, to: { path: '^src/', pathNot: ['^src/core/', '^src/$1/'] } },
    { name: 'a-store-imports-core-and-contracts', severity: 'error', from: { path: '^src/stores/' }, to: { path: '^src/', pathNot: ['^src/core/', '^src/stores/', `^src/(${features})/store\\.ts$`] } },
    { name: 'testing-imports-core-and-contracts', severity: 'error', from: { path: '^src/testing/' }, to: { path: '^src/', pathNot: ['^src/core/', '^src/testing/', '^src/index\\.ts$', '/store\\.ts$'] } },
    { name: 'product-never-imports-testing', severity: 'error', from: { path: '^src/', pathNot: '^src/testing/' }, to: { path: '^src/testing/' } },
    { name: 'nothing-imports-the-root-entry', severity: 'error', from: { path: '^src/', pathNot: '^src/(testing|cli)/' }, to: { path: '^src/index\\.ts$' } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['busbar-source', 'import', 'node', 'default', 'types'] },
  },
}
