import { testWalks } from './conversation-walk.ts'

testWalks({ sqlite: 3000, postgres: 600 })
