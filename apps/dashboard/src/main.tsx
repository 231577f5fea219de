import './mantine-styles.ts'
import './styles.css'
import { createRoot } from 'react-dom/client'
import { App } from './app.tsx'
import { refuseMarkup } from './trusted-types.ts'

refuseMarkup()
const root = document.querySelector('#root')
if (root !== null) createRoot(root).render(<App />)
