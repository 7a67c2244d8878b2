import { createRoot } from 'react-dom/client'
import { Console } from './shell/console'
import '@mantine/core/styles.css'
import './shared/theme.css'

createRoot(document.getElementById('root')!).render(<Console />)
