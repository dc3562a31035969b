import { expect, it } from 'vitest'
import { StateError } from 'busbar'
import { OpenedOnce } from '../../../src/core/util/opened-once.ts'

it('gives what is open between open and close, and refuses it otherwise', async () => {
  const once = new OpenedOnce<string>('Loop')
  expect(() => once.get()).toThrow(new StateError('The Loop transport is not open'))
  const opening = Promise.withResolvers<void>()
  const opened = once.open(
    () => 'link',
    () => opening.promise,
  )
  expect(once.given).toBe('link')
  expect(() => once.get()).toThrow('not open')
  opening.resolve()
  await opened
  expect(once.isOpen).toBe(true)
  expect(once.get()).toBe('link')
  expect(once.close()).toBe('link')
  expect(once.close()).toBeUndefined()
  expect(once.isOpen).toBe(false)
  expect(() => once.get()).toThrow('The Loop transport is closed')
})

it('belongs to one bus, and makes nothing for a second one', async () => {
  const once = new OpenedOnce<string>('Loop', 'make another one with the same path')
  await once.open(
    () => 'first',
    async () => {},
  )
  let made = false
  const second = once.open(
    () => {
      made = true
      return 'second'
    },
    async () => {},
  )
  await expect(second).rejects.toThrow('A Loop transport belongs to one bus: make another one with the same path')
  expect(made).toBe(false)
  expect(once.get()).toBe('first')
})

it('may be opened again after it failed', async () => {
  const once = new OpenedOnce<string>('Loop')
  const failed = once.open(
    () => 'first',
    async () => {
      throw new Error('refused')
    },
  )
  await expect(failed).rejects.toThrow('refused')
  expect(once.given).toBeUndefined()
  await once.open(
    () => 'second',
    async () => {},
  )
  expect(once.get()).toBe('second')
})

it('is not opened after it was closed, even if it never was', async () => {
  const once = new OpenedOnce<string>('Loop')
  expect(once.close()).toBeUndefined()
  let made = false
  const opened = once.open(
    () => {
      made = true
      return 'first'
    },
    async () => {},
  )
  await expect(opened).rejects.toThrow(new StateError('The Loop transport is closed: make another one'))
  expect(made).toBe(false)
})
