import { createRoot } from 'react-dom/client'
import { Console } from './shell/console'
import './shared/kit.css'
import './shared/theme.css'

createRoot(document.getElementById('root')!).render(<Console />)
