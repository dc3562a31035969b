/** One authentication: the client's side of a mechanism. Use a new one for each authentication. */
export interface SaslExchange {
  /**
   * The client's next message, for the server's last one (undefined at first); undefined when the exchange is complete. Throws if the
   * server has not proven itself.
   */
  next(challenge: Buffer | undefined): Buffer | undefined | Promise<Buffer | undefined>
}

/** Name and password of a user. */
export interface Credentials {
  readonly username: string
  readonly password: string
}
