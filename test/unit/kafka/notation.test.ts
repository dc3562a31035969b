import { expect, it } from 'vitest'
import { parseApis, parseData } from '../../../src/kafka/protocol/notation.ts'

it('reads every part of the notation', () => {
  const [api] = parseApis(`api 7 Thing 2-9 flex 6 unstable {
    a:i32 b:str?=null c:[i32]?4+ d:bool@3+=true!
    e:[f:i64@-4=-1 g:{h:uuid}#3]@-5
    i:big=9223372036854775807
  } { }`)
  const all = { first: 2, last: 9 }
  expect(api).toMatchObject({
    key: 7,
    name: 'Thing',
    versions: all,
    flexibleFrom: 6,
    isLastUnstable: true,
    response: [],
  })
  expect(api?.request).toMatchObject([
    { name: 'a', type: 'i32', isArray: false, versions: all, nullable: undefined, required: false },
    { name: 'b', type: 'str', nullable: all, defaultValue: null },
    { name: 'c', type: 'i32', isArray: true, nullable: { first: 4, last: 9 } },
    { name: 'd', versions: { first: 3, last: 9 }, defaultValue: true, required: true },
    {
      name: 'e',
      isArray: true,
      versions: { first: 2, last: 5 },
      type: [
        { name: 'f', versions: { first: 2, last: 4 }, defaultValue: -1 },
        { name: 'g', isArray: false, tag: 3, versions: { first: 2, last: 5 }, type: [{ name: 'h', type: 'uuid' }] },
      ],
    },
    { name: 'i', defaultValue: 9_223_372_036_854_775_807n },
  ])
  expect(parseData('data D 0-1 { a:i8 }')).toMatchObject([{ name: 'D', flexibleFrom: Infinity }])
})

it.each([
  ['an unknown type', 'api 1 A 0 { a:int } { }', /line 1: int is not a type/],
  ['a missing end', 'api 1 A 0 {\n a:i8', /line 2: /],
  ['a range without end', 'api 1 A 3+ { } { }', /has no end/],
  ['a default that is none', 'api 1 A 0 { a:i8=x } { }', /x is not a default/],
  ['something else', 'apis', /api expected, not apis/],
])('refuses %s', (_, text, message) => {
  expect(() => parseApis(text)).toThrow(message)
})
