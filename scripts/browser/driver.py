"""What the checks in a browser share: headless Chromium by selenium, a list of what
failed, and axe-core where it is there."""
import os
import sys
import time

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

DEADLINE = 180


class Checks:
    """Counts what passed and names what failed."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def that(self, what, holds, detail=''):
        if holds:
            self.passed += 1
            print(f'ok      {what}')
        else:
            self.failed += 1
            print(f'FAILED  {what}: {detail}')
        sys.stdout.flush()
        return bool(holds)

    def figure(self, what, seconds, mark):
        """A time, and the mark that it should keep; only ten times that is a failure."""
        note = '' if seconds < mark else f', ABOVE THE MARK of {mark:.0f} s'
        self.that(f'{what} in {seconds:.1f} s{note}', seconds < 10 * mark, f'the mark is {mark:.0f} s')

    def skip(self, what):
        self.skipped += 1
        print(f'SKIPPED {what}')

    def end(self):
        print(f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped')
        sys.exit(self.failed > 0)


def browser(width, height, dark=False, log=None):
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ['CHROMIUM']
    scheme = 0 if dark else 1
    for argument in ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
                     '--disable-background-networking', '--disable-component-update', '--disable-sync',
                     '--no-first-run', '--hide-scrollbars', f'--window-size={width},{height}',
                     f'--blink-settings=preferredColorScheme={scheme}']:
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    driver = webdriver.Chrome(service=Service(os.environ['CHROMEDRIVER']), options=options)
    driver.set_page_load_timeout(DEADLINE)
    driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(
        width=width, height=height, deviceScaleFactor=1, mobile=False))
    return driver


def wait_for(what, condition):
    """The condition's value once it is true; False after the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            value = condition()
        except StaleElementReferenceException:  # the page was drawn anew meanwhile
            continue
        if value:
            return value
        time.sleep(0.05)
    print(f'timeout: waited for {what}', file=sys.stderr)
    return False


def busy(driver):
    """Seconds of CPU that the page's main thread has taken, whatever else ran beside it."""
    metrics = driver.execute_cdp_cmd('Performance.getMetrics', {})['metrics']
    return next((one['value'] for one in metrics if one['name'] == 'ThreadTime'), 0)


def visible(driver, selector):
    return [one for one in driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]


def painted(driver):
    driver.execute_async_script(
        'const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))')


def requests(driver):
    """The addresses that the page has asked for since the last look, but data."""
    import json
    found = []
    for line in driver.get_log('performance'):
        message = json.loads(line['message'])['message']
        if message['method'] == 'Network.requestWillBeSent':
            address = message['params']['request']['url']
            if not address.startswith('data:'):
                found.append(address)
    return found


def accessibility(checks, driver, what):
    """Runs axe-core's rules of WCAG A and AA."""
    path = os.environ.get('AXE')
    if not path:
        checks.skip(f'axe-core on {what}: it is not here (npm pack axe-core)')
        return
    with open(path, encoding='utf-8') as file:
        driver.execute_cdp_cmd('Runtime.evaluate', {'expression': file.read()})
    found = driver.execute_cdp_cmd('Runtime.evaluate', {
        'expression': 'axe.run(document).then(r => JSON.stringify(r.violations.map('
                      'v => v.id + " " + v.nodes.length + " " + v.nodes[0].html.slice(0, 160) '
                      '+ " " + (v.nodes[0].any[0] || {}).message)))',
        'awaitPromise': True})
    text = found['result'].get('value', str(found))
    checks.that(f'axe-core finds nothing on {what}', text == '[]', text)
