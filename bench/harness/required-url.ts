/** The runner starts the servers and tells where they are. */
export function requiredUrl(service: 'rabbitmq' | 'nats' | 'redis' | 'postgres' | 'kafka'): string {
  const variable = `BUSBAR_TEST_${service.toUpperCase()}_URL`
  const url = process.env[variable]
  if (url === undefined) throw new Error(`${variable} is not set: start the case through "npm run bench"`)
  return url
}
