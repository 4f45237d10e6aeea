"""Opens the pages of `mm4spool gallery` in Chromium and uses them as a person does.

    gallery.py DIR    holds page.html of the samples, hostile.html, empty.html, and
                      many-*.html of many messages; pictures of what was seen are left
                      there, and the page as it is printed"""
import base64
import hashlib
import os
import re
import sys
import time
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from driver import Checks, accessibility, browser, busy, painted, requests, visible, wait_for

place = Path(sys.argv[1]).resolve()
checks = Checks()


def address(name):
    return (place / name).as_uri()


def row(driver, text):
    return next(one for one in driver.find_elements(By.CSS_SELECTOR, '.m > summary') if text in one.text)


def looks():
    for name, width, height, dark in [('wide', 1400, 900, False), ('wide-dark', 1400, 900, True),
                                      ('phone', 390, 844, False), ('phone-dark', 390, 844, True)]:
        driver = browser(width, height, dark)
        driver.get(address('page.html'))
        driver.save_screenshot(str(place / f'{name}-list.png'))
        accessibility(checks, driver, f'the list, {name}')
        one = row(driver, 'Greetings from the lake')
        one.click()
        article = wait_for('the article', lambda: visible(driver, '.m[open] > article'))[0]
        painted(driver)
        accessibility(checks, driver, f'a message, {name}')
        overflow = driver.execute_script('return document.documentElement.scrollWidth - innerWidth')
        checks.that(f'{name}: nothing is wider than the screen', overflow <= 0, overflow)
        pictures = visible(driver, '.m[open] article img')
        loaded = [driver.execute_script('return arguments[0].naturalWidth', one) for one in pictures]
        checks.that(f'{name}: both pictures are shown', len(loaded) == 2 and all(loaded), loaded)
        if width < 900:
            driver.execute_script('arguments[0].scrollIntoView()', one)
        else:
            beside = article.rect['x'] > 300 and article.rect['y'] < 100
            checks.that(f'{name}: the message is at the right', beside, article.rect)
        driver.save_screenshot(str(place / f'{name}-message.png'))
        driver.quit()


def use():
    driver = browser(1400, 900)
    driver.get(address('page.html'))
    total = len(visible(driver, '.m'))
    checks.that('every message is listed', total == int(os.environ['MESSAGES']), total)
    for chip in driver.find_elements(By.CSS_SELECTOR, '.chips label'):
        count = chip.find_elements(By.TAG_NAME, 'small')
        driver.execute_script('arguments[0].click()', chip)
        shown = len(visible(driver, '.m'))
        if count:
            checks.that(f'the filter {chip.text!r} shows as many', shown == int(count[0].text), shown)
        days = visible(driver, '.day > h2')
        checks.that(f'the filter {chip.text!r} leaves no empty day', len(days) <= shown, len(days))
        driver.execute_script('document.querySelector("#k").click(); document.querySelector("#a")?.click()')
    one = row(driver, 'Greetings from the lake')
    driver.execute_script('arguments[0].focus()', one)
    one.send_keys(Keys.ENTER)
    checks.that('Enter opens a message', len(visible(driver, '.m[open] > article')) == 1)
    row(driver, 'Trip plan').click()
    checks.that('opening one closes the other', len(visible(driver, '.m[open] > article')) == 1)
    driver.get(address('page.html'))
    related = driver.find_elements(By.CSS_SELECTOR, '.related a')
    if checks.that('messages are joined by links', bool(related)) or related:
        target = related[0].get_attribute('href').rsplit('#', 1)[1]
        kind = driver.execute_script(
            'return document.getElementById(arguments[0]).parentElement.className.match(/k[0-9]/)[0]', target)
        other = next(one for one in ['k0', 'k1', 'k2'] if one != kind)
        driver.execute_script('document.getElementById(arguments[0]).click()', other)
        driver.execute_script('location.hash = arguments[0]', target)
        opened = wait_for('the target', lambda: visible(driver, f'#{target}'))
        checks.that('a link opens its target, whatever the filter', bool(opened), target)
    driver.quit()


def save():
    """Each part has a link, and what it saves is the part."""
    driver = browser(1400, 900)
    downloads = place / 'downloads'
    downloads.mkdir(exist_ok=True)
    driver.execute_cdp_cmd('Browser.setDownloadBehavior', {'behavior': 'allow', 'downloadPath': str(downloads)})
    driver.get(address('page.html'))
    parts, without, unnamed = driver.execute_script(
        'const all = [...document.querySelectorAll("article")];'
        'const count = (one, selector) => one.querySelectorAll(selector).length;'
        'return [document.querySelectorAll(".parts li").length,'
        '  all.filter(one => count(one, "a.save") < count(one, ".parts li")).map(one => one.id),'
        '  document.querySelectorAll("a.save:not([download])").length]')
    checks.that('every part can be saved', parts > 10 and not without and not unnamed, (parts, without, unnamed))
    row(driver, 'Greetings from the lake').click()
    link = visible(driver, '.m[open] a.save')[0]
    name = link.get_attribute('download')
    digest = driver.execute_script(
        'return [...document.querySelectorAll(".m[open] .parts li")]'
        '.find(one => one.textContent.includes(arguments[0])).querySelector(".digest").textContent', name).split()[-1]
    link.click()
    file = downloads / name
    wait_for('the file', lambda: file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == digest)
    saved = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else 'no file'
    checks.that('a link saves the part under its name', saved == digest, (name, saved, digest))
    driver.quit()


def printed():
    driver = browser(1400, 900)
    driver.get(address('page.html'))
    sheet = driver.execute_cdp_cmd('Page.printToPDF', {'paperWidth': 8.27, 'paperHeight': 11.69})
    pdf = base64.b64decode(sheet['data'])
    (place / 'print.pdf').write_bytes(pdf)
    pages = len(re.findall(rb'/Type */Page\b', pdf))
    count = int(os.environ['MESSAGES'])
    checks.that('each message is printed on a page of its own', pages >= count, (pages, count))
    driver.quit()


def hostile():
    driver = browser(1400, 900)
    driver.get_log('performance')
    driver.get(address('hostile.html'))
    for summary in driver.find_elements(By.CSS_SELECTOR, '.m > summary'):
        driver.execute_script('arguments[0].click()', summary)
        painted(driver)
    asked = [one for one in requests(driver) if one != address('hostile.html')]
    checks.that('hostile mails ask for nothing', not asked, asked)
    ran = driver.execute_script('return window.hostile || document.title.includes("hostile ran")')
    checks.that('hostile mails run nothing', not ran, ran)
    tags = driver.execute_script(
        'return document.querySelectorAll("script, svg, iframe, object, embed, link, [onload], [onerror], [style]").length')
    checks.that('hostile mails make no element', tags == 0, tags)
    # The icons are in masks of the style; what a policy refuses is logged.
    refused = [line['message'] for line in driver.get_log('browser')]
    checks.that('nothing is refused by the policy', not refused, refused[:3])
    driver.quit()


def many(name):
    """The times are figures to read: a test may share its cores with anything. What is
    ten times above the mark fails."""
    driver = browser(1400, 900)
    driver.execute_cdp_cmd('Performance.enable', {'timeDomain': 'threadTicks'})
    started = time.monotonic()
    driver.get(address(name))
    painted(driver)
    took = time.monotonic() - started
    print(f'        {name}: {busy(driver):.1f} s of CPU in the page')
    count = driver.execute_script('return document.querySelectorAll(".m").length')
    mark = 3 * max(count / 1000, 1)
    checks.figure(f'{name}, {count} messages, {(place / name).stat().st_size >> 20} MiB, is open', took, mark)
    started = time.monotonic()
    driver.execute_script('document.querySelector("#k1").click()')
    painted(driver)
    checks.figure(f'a filter of {count} messages takes effect', time.monotonic() - started, mark)
    shown = driver.execute_script(
        'return [...document.querySelectorAll(".m")].filter(one => one.checkVisibility()).length')
    checks.that(f'the filter of {count} messages selects', shown == count // 5, shown)
    driver.execute_script('document.querySelector("#k").click()')
    one = driver.find_element(By.CSS_SELECTOR, '.day:last-of-type .m:last-of-type > summary')
    started = time.monotonic()
    one.click()
    opened = wait_for('the oldest message', lambda: visible(driver, '.m[open] > article'))
    checks.figure(f'the oldest of {count} messages is open', time.monotonic() - started, mark)
    seen = driver.execute_script(
        'return [...arguments[0].querySelectorAll("img")].every(one => one.complete && one.naturalWidth)', opened[0])
    checks.that(f'its picture is shown, of {count} messages', bool(seen))
    without = driver.execute_script(
        'return [...document.querySelectorAll("article")].filter('
        'one => one.querySelectorAll("a.save, .file code").length < one.querySelectorAll(".parts li").length).length')
    checks.that(f'every part of {count} messages can be saved', without == 0, without)
    driver.quit()


def empty():
    driver = browser(1400, 900)
    driver.get(address('empty.html'))
    text = driver.find_element(By.TAG_NAME, 'body').text
    checks.that('an empty spool says how to send a message', 'swaks --server' in text, text)
    accessibility(checks, driver, 'the empty page')
    driver.save_screenshot(str(place / 'empty.png'))
    driver.quit()


looks()
use()
save()
printed()
hostile()
empty()
for page in sorted(place.glob('many-*.html')):
    many(page.name)
checks.end()
