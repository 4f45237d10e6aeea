"""Opens the pages of `mm4spool gallery` in Chromium and uses them as a person does.

    gallery.py DIR    holds page.html of the samples, many.html of 1,000 messages,
                      empty.html; pictures of what was seen are left there"""
import os
import sys
import time
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from driver import Checks, accessibility, browser, painted, requests, visible, wait_for

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
        driver.execute_script('arguments[0].querySelector("input").click()', chip)
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
    link = visible(driver, '.related a')
    driver.get(address('page.html'))
    related = driver.find_elements(By.CSS_SELECTOR, '.related a')
    if checks.that('messages are joined by links', bool(related)) or related:
        target = related[0].get_attribute('href').rsplit('#', 1)[1]
        driver.execute_script('location.hash = arguments[0]', target)
        opened = wait_for('the target', lambda: visible(driver, f'#{target}'))
        checks.that('a link opens its target', bool(opened), target)
    saved = driver.find_elements(By.CSS_SELECTOR, 'a.save')
    named = all(one.get_attribute('download') for one in saved)
    checks.that('every part can be saved', len(saved) > 10 and named, len(saved))
    del link
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


def many(name, limit):
    if not (place / name).exists():
        return
    driver = browser(1400, 900)
    started = time.monotonic()
    driver.get(address(name))
    painted(driver)
    took = time.monotonic() - started
    count = driver.execute_script('return document.querySelectorAll(".m").length')
    print(f'        {count} messages, {(place / name).stat().st_size >> 20} MiB, open in {took:.1f} s')
    checks.that(f'{count} messages open in {limit} s', took < limit, f'{took:.1f} s')
    started = time.monotonic()
    driver.execute_script('document.querySelector("#k1").click()')
    painted(driver)
    took = time.monotonic() - started
    checks.that(f'a filter of {count} messages takes effect in 2 s', took < 2, f'{took:.1f} s')
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
hostile()
many('many.html', 3 * float(os.environ.get('SLOWER', '1')))
empty()
checks.end()
