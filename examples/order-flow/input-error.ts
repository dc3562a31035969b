/** The user's input is invalid. The message is all they need to see. */
export class InputError extends Error {}
