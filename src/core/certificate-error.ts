const MAX_CAUSES = 8

/**
 * True when the two sides of a connection do not trust each other's certificates. That does not pass by itself, so trying
 * again is pointless. Node and the client libraries have dozens of codes for it, and all name the certificate in their text.
 */
export function isCertificateError(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < MAX_CAUSES; at = at.cause, depth++)
    if (/certificate|self.signed|altname/i.test(at.message)) return true
  return false
}
