/** What the user gave can't be used. The message is all that they need to see. */
export class InputError extends Error {}
