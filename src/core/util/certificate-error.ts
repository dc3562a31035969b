const MAX_CAUSES = 8

/**
 * True when one side of a connection does not trust the other's certificate. That won't pass, so retrying is pointless. Node
 * and the client libraries have dozens of codes for it, but all mention the certificate in the message.
 */
export function isCertificateError(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < MAX_CAUSES; at = at.cause, depth++)
    if (/certificate|self.signed|altname/i.test(at.message)) return true
  return false
}
