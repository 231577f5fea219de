import { testWalks } from './conversation-walk.ts'

testWalks({ sqlite: 40, postgres: 12 })
