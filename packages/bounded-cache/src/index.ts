export * from './bounded-cache.ts'
