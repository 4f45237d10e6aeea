"""Uses the page of `mm4spool serve` in Chromium as a person does.

    serve.py ADDRESS DIR SPOOL    pictures of what was seen are left in DIR"""
import subprocess
import sys
from pathlib import Path

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from driver import Checks, accessibility, browser, painted, requests, visible, wait_for

address, place, spool = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
mails = Path(__file__).with_name('mails.py')
checks = Checks()


def rows(driver):
    return driver.find_elements(By.CSS_SELECTOR, '.row')


def row(driver, text):
    """The row that has the text; looked for again when the list was drawn anew."""
    for _ in range(20):
        try:
            return next((one for one in rows(driver) if text in one.text), None)
        except StaleElementReferenceException:
            pass
    return None


def heading(driver):
    found = driver.find_elements(By.CSS_SELECTOR, '#pane h2')
    return found[0].text if found else ''


def looks():
    for name, width, height, dark in [('live-wide', 1400, 900, False), ('live-wide-dark', 1400, 900, True),
                                      ('live-phone', 390, 844, False), ('live-phone-dark', 390, 844, True)]:
        driver = browser(width, height, dark)
        driver.get(address)
        accessibility(checks, driver, f'the list, {name}')
        driver.save_screenshot(str(place / f'{name}-list.png'))
        row(driver, 'Greetings from the lake').click()
        wait_for('the message', lambda: 'Greetings' in heading(driver))
        painted(driver)
        accessibility(checks, driver, f'a message, {name}')
        overflow = driver.execute_script('return document.documentElement.scrollWidth - innerWidth')
        checks.that(f'{name}: nothing is wider than the screen', overflow <= 0, overflow)
        loaded = wait_for('the pictures', lambda: driver.execute_script(
            'return [...document.querySelectorAll("#pane img")].every(one => one.naturalWidth)'))
        checks.that(f'{name}: the pictures are shown', loaded)
        if width < 900:
            checks.that(f'{name}: the list makes way', not visible(driver, '#list'))
            driver.find_element(By.CSS_SELECTOR, '.back').click()
            checks.that(f'{name}: and is had back', bool(wait_for('the list', lambda: visible(driver, '#list .row'))))
        driver.save_screenshot(str(place / f'{name}-message.png'))
        driver.quit()


def keys():
    driver = browser(1400, 900)
    driver.get(address)
    body = driver.find_element(By.TAG_NAME, 'body')
    body.send_keys('j')
    body = driver.switch_to.active_element
    body.send_keys('j')
    at = driver.execute_script('return [...document.querySelectorAll(".row")].indexOf(document.activeElement)')
    checks.that('j goes down the list', at == 1, at)
    driver.switch_to.active_element.send_keys('k')
    at = driver.execute_script('return [...document.querySelectorAll(".row")].indexOf(document.activeElement)')
    checks.that('k goes up', at == 0, at)
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    checks.that('Enter opens', bool(wait_for('a message', lambda: heading(driver))))
    checks.that('the message is in the address', 'id=' in driver.current_url, driver.current_url)
    shown, there = heading(driver), driver.current_url
    driver.get(there)
    checks.that('the address alone opens it again', heading(driver) == shown, heading(driver))
    driver.find_element(By.TAG_NAME, 'body').send_keys('?')
    checks.that('? shows the keys', bool(visible(driver, 'dialog[open]')))
    accessibility(checks, driver, 'the keys')
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    checks.that('Escape closes them', not visible(driver, 'dialog[open]'))
    driver.find_element(By.TAG_NAME, 'body').send_keys('/')
    field = driver.switch_to.active_element
    checks.that('/ goes to the search', field.get_attribute('id') == 'search')
    field.send_keys('lake', Keys.ENTER)
    found = wait_for('the search', lambda: len(rows(driver)) in (1, 2) and row(driver, 'lake'))
    checks.that('the search finds', bool(found), len(rows(driver)))
    checks.that('the search is in the address', 'grep=lake' in driver.current_url, driver.current_url)
    driver.back()
    checks.that('back shows all', bool(wait_for('all', lambda: len(rows(driver)) > 5)))
    driver.find_element(By.PARTIAL_LINK_TEXT, 'Reports').click()
    wait_for('reports', lambda: all('eport' in one.text for one in rows(driver)))
    checks.that('a filter selects', bool(rows(driver)) and 'kind=reports' in driver.current_url, driver.current_url)
    driver.get(address + '?subject=nothing-has-this')
    accessibility(checks, driver, 'a search without a match')
    driver.quit()


def counts():
    """The filters say how many they select, and they do."""
    driver = browser(1400, 900)
    driver.get(address)

    def counted():
        found = {}
        for chip in driver.find_elements(By.CSS_SELECTOR, '#filters a'):
            small = chip.find_elements(By.TAG_NAME, 'small')
            if small:
                found[chip.get_attribute('href')] = int(small[0].text)
        if not found:
            driver.refresh()  # the survey of the spool has just begun
        return found

    filters = wait_for('counts', counted) or {}
    checks.that('the filters have counts', len(filters) > 5, filters)
    for link, count in filters.items():
        driver.get(link)
        checks.that(f'the filter {link.rsplit("/", 1)[1]!r} selects {count}', len(rows(driver)) == count, len(rows(driver)))
    driver.quit()


def sound():
    """A browser seeks by asking for ranges."""
    driver = browser(1400, 900)
    driver.get(address + '?has=audio')
    for one in [one.get_attribute('href') for one in rows(driver)]:
        driver.get(one)
        if visible(driver, '#pane audio'):
            break
    driver.execute_script('const one = document.querySelector("#pane audio"); one.preload = "auto"; one.load()')
    length = wait_for('its length', lambda: driver.execute_script(
        'const one = document.querySelector("#pane audio"); return one.seekable.length && one.seekable.end(0)'))
    driver.execute_script('const one = document.querySelector("#pane audio"); one.currentTime = one.duration / 2')
    place_in = wait_for('a seek', lambda: driver.execute_script(
        'const one = document.querySelector("#pane audio"); return !one.seeking && one.currentTime'))
    checks.that('a sound can be sought in', bool(length) and place_in and place_in > length / 3, (length, place_in))
    driver.quit()


def arrival():
    driver = browser(1400, 900)
    driver.get(address)
    before = len(rows(driver))
    row(driver, 'Greetings from the lake').click()
    wait_for('the message', lambda: 'Greetings' in heading(driver))
    subprocess.run([sys.executable, mails, 'joined', spool], check=True)
    arrived = wait_for('the arrival', lambda: row(driver, 'Dinner on Friday?'))
    checks.that('a new message appears by itself', bool(arrived))
    wait_for('all three', lambda: len(rows(driver)) == before + 3)
    all_of_them = wait_for('the count', lambda: driver.find_element(
        By.CSS_SELECTOR, '#filters a small').text == str(before + 3))
    checks.that('the filters count it', bool(all_of_them))
    checks.that('the open message stays open', 'Greetings' in heading(driver))
    row(driver, 'Dinner on Friday?').click()
    wait_for('the message', lambda: 'Dinner' in heading(driver))
    checks.that('a contact is a card', bool(visible(driver, '#pane .card')))
    link = driver.find_element(By.PARTIAL_LINK_TEXT, 'Answered: Ok')
    link.click()
    checks.that('a link opens the answer', bool(wait_for('the answer', lambda: heading(driver) == 'Answer')))
    driver.quit()


def by_mail(send):
    """A mail that swaks brings through mm4d."""
    driver = browser(1400, 900)
    driver.get(address)
    sent = subprocess.run(send, shell=True, capture_output=True, text=True)
    checks.that('swaks delivers', sent.returncode == 0, sent.stdout[-300:] + sent.stderr[-300:])
    checks.that('a mail by swaks appears', bool(wait_for('the mail', lambda: row(driver, 'Sent by swaks'))))
    driver.quit()


def hostile():
    subprocess.run([sys.executable, mails, 'hostile', spool], check=True)
    driver = browser(1400, 900)
    driver.get(address)
    wait_for('hostile mails', lambda: row(driver, 'onerror'))
    driver.get_log('performance')
    for at in range(8):
        hostile_rows = [one for one in rows(driver) if 'onerror' in one.text]
        hostile_rows[at].click()
        painted(driver)
    asked = [one for one in requests(driver) if not one.startswith(address)]
    checks.that('hostile mails ask for nothing elsewhere', not asked, asked)
    ran = driver.execute_script('return window.hostile || document.title.includes("hostile ran")')
    checks.that('hostile mails run nothing', not ran, ran)
    tags = driver.execute_script('return document.querySelectorAll("svg, iframe, object, embed, [onload], [onerror], [style]").length')
    checks.that('hostile mails make no element', tags == 0, tags)
    refused = [line['message'] for line in driver.get_log('browser') if 'thumbnail' not in line['message']]
    checks.that('nothing is refused by the policy', not refused, refused[:3])
    driver.quit()


def search():
    """A search is of what the address shows, also after links without a reload."""
    driver = browser(1400, 900)
    driver.get(address + '?kind=answers&grep=greetings')
    field = driver.find_element(By.ID, 'search')
    driver.find_element(By.CSS_SELECTOR, 'h1 a').click()
    wait_for('all', lambda: len(rows(driver)) > 5)
    checks.that('without a search its field is empty', not field.get_attribute('value'), field.get_attribute('value'))
    field.clear()
    field.send_keys('lake', Keys.ENTER)
    wait_for('the search', lambda: 'grep=lake' in driver.current_url)
    checks.that('a search has no filter of the page before', 'kind=' not in driver.current_url, driver.current_url)
    checks.that('and finds', bool(wait_for('the row', lambda: row(driver, 'lake'))))
    driver.get(address + '?since=2020-01-01')
    driver.find_element(By.PARTIAL_LINK_TEXT, 'Messages').click()
    wait_for('messages', lambda: 'kind=messages' in driver.current_url)
    field = driver.find_element(By.ID, 'search')
    field.send_keys('lake', Keys.ENTER)
    wait_for('the search', lambda: 'grep=lake' in driver.current_url)
    kept = all(one in driver.current_url for one in ('since=2020-01-01', 'kind=messages'))
    checks.that('a search keeps the filters that are in force', kept, driver.current_url)
    driver.quit()


def busy_server():
    """A server that has no time for once does not take the page away."""
    driver = browser(1400, 900)
    driver.get(address)
    before = len(rows(driver))
    driver.execute_script("""const ask = window.fetch; window.asked = 0;
        window.fetch = (...all) => window.asked++ ? ask(...all) : Promise.resolve(new Response("busy", { status: 503 }))""")
    subprocess.run([sys.executable, mails, 'many', '1', spool, '10'], check=True)
    wait_for('the question', lambda: driver.execute_script('return window.asked !== 0'))
    painted(driver)
    checks.that('a refusal leaves the list', len(rows(driver)) >= before, driver.current_url)
    again = bool(wait_for('the mail', lambda: len(rows(driver)) > before))
    checks.that('and the list is asked for again', again, driver.execute_script('return window.asked'))
    driver.quit()


def older():
    """The next page of the list is read from its beginning."""
    subprocess.run([sys.executable, mails, 'many', '120', spool, '10'], check=True)
    driver = browser(1400, 900)
    wait_for('a second page', lambda: driver.get(address) or visible(driver, '.older'))
    first = rows(driver)[0].get_attribute('data-id')
    driver.find_element(By.CSS_SELECTOR, '.older').click()
    wait_for('older messages', lambda: rows(driver) and rows(driver)[0].get_attribute('data-id') != first)
    place_in = driver.execute_script('return document.querySelector("#list").scrollTop')
    checks.that('older messages are shown from the first', place_in == 0, place_in)
    driver.execute_script('document.querySelector("#list").scrollTop = 400')
    rows(driver)[12].click()
    wait_for('the message', lambda: heading(driver))
    place_in = driver.execute_script('return document.querySelector("#list").scrollTop')
    checks.that('and stay where they are when one is opened', place_in == 400, place_in)
    driver.quit()
    driver = browser(390, 844)
    driver.get(address)
    driver.execute_script('scrollTo(0, 900)')
    rows(driver)[20].click()
    wait_for('the message', lambda: heading(driver))
    top = driver.execute_script('return scrollY')
    driver.find_element(By.CSS_SELECTOR, '.back').click()
    wait_for('the list', lambda: visible(driver, '#list .row'))
    place_in = wait_for('its place', lambda: driver.execute_script('return scrollY'))
    checks.that('a phone shows a message from its top and the list where it was', (top, place_in) == (0, 900), (top, place_in))
    driver.quit()


looks()
keys()
counts()
search()
busy_server()
sound()
arrival()
if len(sys.argv) > 4:
    by_mail(sys.argv[4])
hostile()
older()
checks.end()
