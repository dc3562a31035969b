type Scalar = string | number | boolean | null

/** Whether there is a value; null is one. */
interface Existence {
  readonly exists: boolean
}

/** Conditions on one value. All must hold; a value that is missing or of another type fulfils none but `exists: false`. */
interface Operators<Value> extends Partial<Existence> {
  /** It is none of these. */
  readonly not?: Value | readonly Value[] | undefined
}

/** Numbers by size, strings by their UTF-16 code units: right for ISO 8601 times in one time zone. */
interface Range<Value> {
  readonly gt?: Value | undefined
  readonly gte?: Value | undefined
  readonly lt?: Value | undefined
  readonly lte?: Value | undefined
}

interface Ends {
  readonly prefix?: string | undefined
  readonly suffix?: string | undefined
}

/** Conditions on a string, such as an attribute of a message: a value, several of which one must match, or operators. */
export type WhereText = TextMatch | readonly TextMatch[]
type TextMatch = string | (Operators<string> & Range<string> & Ends)

type Match<Value> = Value extends string
  ? Value | (Operators<Value> & Range<string> & Ends)
  : Value extends number
    ? Value | (Operators<Value> & Range<number>)
    : Value extends Scalar
      ? Value | Operators<Value>
      : Value extends readonly (infer Element)[]
        ? Match<Element> | Existence
        : Value extends Date
          ? Existence
          : Value extends object
            ? WhereData<Value> | Existence
            : Existence

type Condition<Value> = Match<NonNullable<Value>> | readonly (Match<NonNullable<Value>> | null | Existence)[] | null

/** Conditions on the fields of an object, by their names; all must hold. */
type WhereFields<Data> = unknown extends Data
  ? { readonly [field: string]: unknown }
  : Data extends unknown
    ? { readonly [Field in keyof Data]?: Condition<Data[Field]> | undefined }
    : never

interface Logic<Part> {
  readonly $and?: readonly Part[] | undefined
  readonly $or?: readonly Part[] | undefined
  readonly $not?: Part | undefined
}

/** Conditions on an object inside of the data. */
export type WhereData<Data> = WhereFields<Data> & Logic<WhereData<Data>>

/** Conditions on the attributes of a message. A filter with nothing else is decided before the body is decoded. */
export interface WhereAttributes {
  readonly $type?: WhereText | undefined
  /** A message without a key: `{ exists: false }`. */
  readonly $key?: WhereText | undefined
  readonly $subject?: WhereText | undefined
  /** By name of the header. */
  readonly $headers?: { readonly [name: string]: WhereText | Existence } | undefined
}

/**
 * Which messages are wanted, as plain data that JSON can carry. All conditions must hold.
 *
 *     { status: 'paid', total: { gte: 100 } }                      fields of the data, exactly or by operators
 *     { country: ['AT', 'DE'], tags: 'vip' }                       one of several; an array matches by any of its elements
 *     { address: { zip: { prefix: '10' } }, coupon: null }         nested fields; null matches null only
 *     { status: { not: 'done' }, parent: { exists: false } }       a missing value fulfils `exists: false`, and nothing else
 *     { $key: { prefix: 'eu-' }, $headers: { tenant: 'a' } }       attributes: `$type`, `$key`, `$subject`, `$headers`
 *     { $or: [{ total: { gt: 100 } }, { $not: { tags: 'b2c' } }] } `$and`, `$or`, `$not`
 *
 * Operators: `gt`, `gte`, `lt`, `lte`, `prefix`, `suffix`, `not`, `exists`. Values are compared as they are: 5 is not '5'. A field
 * that is named like an operator is reached through `$and`: `{ range: { $and: [{ gt: 5 }] } }`.
 */
export type Where<Data = unknown> = WhereFields<Data> & WhereAttributes & Logic<Where<Data>>
